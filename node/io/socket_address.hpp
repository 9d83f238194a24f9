#pragma once
// The addresses of a descriptor, and an owned descriptor.
#include "base/socket_address.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <utility>

namespace skald::node {

endpoint local_endpoint(int fd);
endpoint remote_endpoint(int fd);
inline int family_of(const endpoint& e) { return e.ip.is_v4() ? AF_INET : AF_INET6; }

class owned_fd {
public:
  owned_fd() = default;
  explicit owned_fd(int fd) : fd_(fd) {}
  owned_fd(owned_fd&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  owned_fd& operator=(owned_fd&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~owned_fd();
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset() { *this = owned_fd(); }

private:
  int fd_ = -1;
};

void set_option(int fd, int level, int name, int value); // best effort: a kernel that lacks it is no reason to stop

} // namespace skald::node
