#include "node/io/socket_address.hpp"

#include <unistd.h>

namespace skald::node {

endpoint local_endpoint(int fd) {
  sockaddr_storage a{};
  socklen_t n = sizeof a;
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &n) == 0 ? from_sockaddr(a) : endpoint{};
}

endpoint remote_endpoint(int fd) {
  sockaddr_storage a{};
  socklen_t n = sizeof a;
  return ::getpeername(fd, reinterpret_cast<sockaddr*>(&a), &n) == 0 ? from_sockaddr(a) : endpoint{};
}

owned_fd::~owned_fd() {
  if (fd_ >= 0) ::close(fd_);
}

void set_option(int fd, int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof value); }

} // namespace skald::node
