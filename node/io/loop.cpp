#include "node/io/loop.hpp"

#include "base/errors.hpp"
#include "base/metrics.hpp"

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <chrono>

namespace skald::node {
namespace {

metrics::counter queue_refused("skald_loop_queue_refused_total", "Tasks refused because a thread's queue was full.");

} // namespace

// A hint of 1: one thread runs handlers; others may still post.
loop::loop(const clock& clk) : clock_(clk), io_(std::make_unique<asio::io_context>(1)) {}
loop::~loop() = default;

void loop::run() {
  runner_ = std::this_thread::get_id();
  const auto work = asio::make_work_guard(*io_);
  while (!stopping_) {
    timers_.run_due(now());
    run_hooks();
    if (const auto next = timers_.next_deadline()) {
      const duration wait = std::max(duration{0}, *next - now());
      io_->run_one_for(std::chrono::duration_cast<std::chrono::microseconds>(wait));
    } else {
      io_->run_one();
    }
    // What is ready, but not for ever: a flooded socket is ready again as soon as it was read, and timers and what
    // was written wait for the end of the turn.
    const mono_time until = now() + turn_max;
    while (now() < until && io_->poll_one() != 0) {}
  }
  run_hooks();
  runner_ = std::thread::id{};
}

void loop::stop() {
  stopping_ = true;
  post_always([] {});
}

bool loop::post(task what) { return enqueue(std::move(what), true); }
void loop::post_always(task what) { enqueue(std::move(what), false); }

bool loop::enqueue(task what, bool bounded) {
  bool first = false;
  {
    const std::scoped_lock lock(mutex_);
    if (bounded && posted_.size() >= loop_queue_max) {
      queue_refused.add();
      return false;
    }
    first = posted_.empty();
    posted_.push_back(std::move(what));
  }
  if (first) asio::post(*io_, [this] { run_posted(); });
  return true;
}

void loop::run_posted() {
  std::vector<task> batch;
  {
    const std::scoped_lock lock(mutex_);
    batch.swap(posted_);
  }
  for (task& t : batch) t();
}

void loop::defer(turn_hook& hook) { hooks_.push_back(&hook); }

void loop::undefer(turn_hook& hook) {
  std::ranges::replace(hooks_, &hook, nullptr);
  std::ranges::replace(running_hooks_, &hook, nullptr);
}

void loop::run_hooks() {
  // A hook may defer another (a stream that fails at the end of the turn reports it): those run in this turn too.
  while (!hooks_.empty()) {
    running_hooks_.swap(hooks_);
    for (std::size_t i = 0; i < running_hooks_.size(); ++i)
      if (turn_hook* h = running_hooks_[i]) h->on_turn_end();
    running_hooks_.clear();
  }
}

struct fd_watch::state {
  state(asio::io_context& io, int fd) : descriptor(io, fd) {}
  asio::posix::stream_descriptor descriptor;
  bool gone = false;
};

fd_watch::fd_watch(loop& on, int fd) : state_(std::make_shared<state>(on.io(), fd)) {}

fd_watch::~fd_watch() {
  state_->gone = true;
  state_->descriptor.release(); // cancels what waits; the descriptor stays open
}

void fd_watch::when_readable(loop::task what) {
  state_->descriptor.async_wait(asio::posix::descriptor_base::wait_read,
    [s = state_, what = std::move(what)](const asio::error_code& e) mutable {
      if (!e && !s->gone) what();
    });
}

void fd_watch::when_writable(loop::task what) {
  state_->descriptor.async_wait(asio::posix::descriptor_base::wait_write,
    [s = state_, what = std::move(what)](const asio::error_code& e) mutable {
      if (!e && !s->gone) what();
    });
}

} // namespace skald::node
