#include "tests/chaos/loop.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <sys/epoll.h>
#include <unistd.h>

namespace chaos {

loop::loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ < 0) std::perror("epoll_create1"), std::exit(1);
}

loop::~loop() {
  close(epoll_);
}

mono_time loop::now() const {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return mono_time{} + std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_nsec / 1000);
}

void loop::watch(int fd, std::function<void()> readable) {
  epoll_event e{.events = EPOLLIN, .data = {.fd = fd}};
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &e) != 0) std::perror("epoll_ctl"), std::exit(1);
  readable_[fd] = std::move(readable);
}

void loop::forget(int fd) {
  epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
  readable_.erase(fd);
}

void loop::run() {
  std::array<epoll_event, 256> ready{};
  while (running_) {
    timers_.run_due(now());
    int wait_ms = 1000;
    if (const auto next = timers_.next_deadline())
      wait_ms = static_cast<int>(std::clamp<std::int64_t>((*next - now()).count() / 1000 + 1, 0, 1000));
    const int n = epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), wait_ms);
    if (n < 0 && errno != EINTR) std::perror("epoll_wait"), std::exit(1);
    for (int i = 0; i < n; ++i)
      if (const auto it = readable_.find(ready[static_cast<std::size_t>(i)].data.fd); it != readable_.end()) {
        const auto call = it->second; // it may forget itself
        call();
      }
  }
}

} // namespace chaos
