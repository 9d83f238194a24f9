#pragma once
// Real workers on loopback, and blocking sockets to talk to them. Waiting is for a condition, with a deadline.
#include "base/guarded.hpp"
#include "node/io/socket_address.hpp"
#include "node/io/system_clock.hpp"
#include "node/worker/worker.hpp"
#include "sip/message/reply.hpp"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace skald::node::testing {

inline constexpr std::chrono::seconds patience{10};

// What a worker's user saw; answers every request with 200 on the flow it came by.
class echo_user final : public worker_user {
public:
  struct seen {
    std::string method;
    int status;
    sip::arrival from;
    std::uint16_t worker;
  };
  explicit echo_user(worker& w) : worker_(w) { w.set_user(*this); }

  void on_message(sip::message m, const sip::arrival& from) override {
    note({std::string(m.method_name()), m.status(), from, worker_.config().index});
    if (m.is_request() && m.method_id() != sip::method::ack)
      worker_.send(from.flow, sip::make_reply(m, 200, {}, "echo").serialize());
  }
  void on_flow_gone(const sip::flow& f) override {
    const std::scoped_lock lock(mutex_);
    gone_.push_back(f);
    changed_.notify_all();
  }

  // Waits until `n` messages were seen; all of them.
  std::vector<seen> wait_messages(std::size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return messages_.size() >= n; });
    return messages_;
  }
  std::vector<sip::flow> wait_gone(std::size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return gone_.size() >= n; });
    return gone_;
  }

private:
  void note(seen s) {
    const std::scoped_lock lock(mutex_);
    messages_.push_back(std::move(s));
    changed_.notify_all();
  }
  worker& worker_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<seen> messages_;
  std::vector<sip::flow> gone_;
};

// N workers on one address, ports chosen by the kernel.
class workers {
public:
  explicit workers(std::uint16_t count, const char* address = "127.0.0.1", bool sips = false) : group(time, 42) {
    worker_config c{.addresses = {*ip_address::parse(address)}, .sip_port = 0, .sips_port = 0, .sips = sips};
    for (std::uint16_t i = 0; i < count; ++i) {
      c.index = i;
      all.push_back(std::make_unique<worker>(c, group));
      bound = bound && all.back()->bind().has_value();
      c = all.back()->config();
      users.push_back(std::make_unique<echo_user>(*all.back()));
    }
  }
  ~workers() {
    for (auto& w : all) w->stop();
  }
  void start() {
    for (auto& w : all) w->start();
  }
  endpoint sip() const { return {all[0]->config().addresses[0], all[0]->config().sip_port}; }
  endpoint sips() const { return {all[0]->config().addresses[0], all[0]->config().sips_port}; }
  // Runs on the worker's thread, and waits for the result.
  template <class F>
  auto on(std::size_t i, F f) {
    using T = decltype(f(*all[i]));
    std::promise<T> p;
    auto result = p.get_future();
    all[i]->events().post([&] { p.set_value(f(*all[i])); });
    return result.get();
  }
  // Opens a flow from worker i, and waits.
  std::optional<sip::flow> open(std::size_t i, const sip::target& to) {
    std::promise<std::optional<sip::flow>> p;
    auto result = p.get_future();
    all[i]->events().post([&] { all[i]->open(to, [&](std::optional<sip::flow> f) { p.set_value(f); }); });
    return result.get();
  }
  std::optional<sip::flow> open_link(std::size_t i, const node_id& to) {
    std::promise<std::optional<sip::flow>> p;
    auto result = p.get_future();
    all[i]->events().post([&] { all[i]->open_link(to, [&](std::optional<sip::flow> f) { p.set_value(f); }); });
    return result.get();
  }

  system_clock time;
  worker_group group;
  std::vector<std::unique_ptr<worker>> all;
  std::vector<std::unique_ptr<echo_user>> users;
  bool bound = true;
};

// A blocking client socket.
class peer_socket {
public:
  // `from`: the address to call from, if it matters.
  peer_socket(int type, const endpoint& to, const char* from = nullptr) : fd_(::socket(family_of(to), type | SOCK_CLOEXEC, 0)) {
    sockaddr_storage a;
    if (from != nullptr) {
      const socklen_t own = to_sockaddr({*ip_address::parse(from), 0}, a);
      ::bind(fd_.get(), reinterpret_cast<sockaddr*>(&a), own);
    }
    const socklen_t n = to_sockaddr(to, a);
    connected = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&a), n) == 0;
  }
  void send(std::string_view bytes) { ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  // What comes next, at most `patience` later; "" : nothing, or the end.
  std::string receive() {
    pollfd p{fd_.get(), POLLIN, 0};
    if (::poll(&p, 1, static_cast<int>(std::chrono::milliseconds(patience).count())) != 1) return {};
    std::string out(65'536, '\0');
    const ssize_t n = ::recv(fd_.get(), out.data(), out.size(), 0);
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
  }
  // Until `text` came.
  std::string receive_until(std::string_view text) {
    std::string out;
    while (out.find(text) == std::string::npos) {
      const std::string more = receive();
      if (more.empty()) break;
      out += more;
    }
    return out;
  }
  endpoint local() const { return local_endpoint(fd_.get()); }
  int fd() const { return fd_.get(); }
  void reset() { // RST instead of FIN
    const linger l{1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &l, sizeof l);
    fd_.reset();
  }
  bool connected = false;

private:
  owned_fd fd_;
};

inline std::string request(std::string_view method, std::string_view branch, std::string_view transport = "UDP") {
  const std::string m(method);
  return m + " sip:example.com SIP/2.0\r\nVia: SIP/2.0/" + std::string(transport) + " 192.0.2.9:5060;branch=" + std::string(branch) +
         ";rport\r\nMax-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:example.com>\r\nCall-ID: " +
         std::string(branch) + "@test\r\nCSeq: 1 " + m + "\r\nContent-Length: 0\r\n\r\n";
}

} // namespace skald::node::testing
