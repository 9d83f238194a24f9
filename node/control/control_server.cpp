#include "node/control/control_server.hpp"

#include "base/socket_address.hpp"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <microhttpd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace skald::node {

struct control_server::impl {
  control_handler handler;
  std::string socket_path;
  MHD_Daemon* unix_daemon = nullptr;
  MHD_Daemon* tcp_daemon = nullptr;
  std::atomic<int> open{0}; // requests that have come and whose answers are not sent yet

  // Answers that are on their way are sent first: that to `skald leave` is given by the very call that ends the node.
  ~impl() {
    for (MHD_Daemon* d : {unix_daemon, tcp_daemon})
      if (d != nullptr)
        if (const MHD_socket fd = MHD_quiesce_daemon(d); fd != MHD_INVALID_SOCKET) ::close(fd);
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (open > 0 && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (unix_daemon != nullptr) MHD_stop_daemon(unix_daemon);
    if (tcp_daemon != nullptr) MHD_stop_daemon(tcp_daemon);
    if (!socket_path.empty()) ::unlink(socket_path.c_str());
  }
};

namespace {

struct pending {
  control_request request;
  bool too_large = false;
};

MHD_Result send_reply(MHD_Connection* connection, const control_reply& reply) {
  MHD_Response* response =
      MHD_create_response_from_buffer(reply.body.size(), const_cast<char*>(reply.body.data()), MHD_RESPMEM_MUST_COPY);
  MHD_add_response_header(response, "Content-Type", reply.content_type.c_str());
  const MHD_Result queued = MHD_queue_response(connection, static_cast<unsigned>(reply.status), response);
  MHD_destroy_response(response);
  return queued;
}

MHD_Result take_argument(void* to, MHD_ValueKind, const char* key, const char* value) {
  static_cast<control_request*>(to)->query[key] = value != nullptr ? value : "";
  return MHD_YES;
}

MHD_Result serve(control_server::impl& self, const control_handler& handler, MHD_Connection* connection, const char* url,
                 const char* method, const char* data, std::size_t* size, void** state) {
  auto* p = static_cast<pending*>(*state);
  if (p == nullptr) {
    ++self.open;
    p = new pending;
    p->request.method = method;
    p->request.path = url;
    *state = p;
    return MHD_YES;
  }
  if (*size > 0) {
    if (p->request.body.size() + *size > control_body_bytes_max) p->too_large = true;
    else p->request.body.append(data, *size);
    *size = 0;
    return MHD_YES;
  }
  if (p->too_large) return send_reply(connection, {413, R"({"error":"request body over 8 MiB"})"});
  MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_argument, &p->request);
  return send_reply(connection, handler(p->request));
}

MHD_Result on_unix(void* self, MHD_Connection* c, const char* url, const char* method, const char*, const char* data,
                   std::size_t* size, void** state) {
  auto& me = *static_cast<control_server::impl*>(self);
  return serve(me, me.handler, c, url, method, data, size, state);
}

MHD_Result on_tcp(void* self, MHD_Connection* c, const char* url, const char* method, const char*, const char* data,
                  std::size_t* size, void** state) {
  static const control_handler nothing = [](const control_request&) {
    return control_reply{404, "only GET /metrics is served here\n", "text/plain"};
  };
  const bool metrics = std::strcmp(url, "/metrics") == 0 && std::strcmp(method, "GET") == 0;
  auto& me = *static_cast<control_server::impl*>(self);
  return serve(me, metrics ? me.handler : nothing, c, url, method, data, size, state);
}

void on_completed(void* self, MHD_Connection*, void** state, MHD_RequestTerminationCode) {
  if (*state == nullptr) return;
  --static_cast<control_server::impl*>(self)->open;
  delete static_cast<pending*>(*state);
  *state = nullptr;
}

// Only a socket that nobody listens on is taken away: neither a file that happens to have this name, nor the socket of
// a process that runs.
outcome<void> make_way(const std::string& path, const sockaddr_un& address) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return {};
  if (!S_ISSOCK(info.st_mode))
    return std::unexpected(failure{fmt::format("control socket {}: there is a file of this name", path), "give another path with --control"});
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const bool answers = fd >= 0 && (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN);
  if (fd >= 0) ::close(fd);
  if (answers)
    return std::unexpected(failure{fmt::format("control socket {}: another process listens there", path), "give another path with --control"});
  ::unlink(path.c_str());
  return {};
}

outcome<int> listen_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return std::unexpected(failure{fmt::format("{}: a socket path may have {} characters at most", path, sizeof address.sun_path - 1),
                                   "give a shorter one with --control"});
  std::memcpy(address.sun_path, path.data(), path.size());
  if (auto free = make_way(path, address); !free) return std::unexpected(free.error());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const mode_t former = ::umask(0177); // the socket is born 0600
  const bool good = fd >= 0 && ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
                    ::listen(fd, 64) == 0;
  ::umask(former);
  if (good) return fd;
  const std::string why = std::strerror(errno);
  if (fd >= 0) ::close(fd);
  return std::unexpected(failure{fmt::format("control socket {}: {}", path, why), "give another path with --control"});
}

outcome<int> listen_tcp(const endpoint& at) {
  const int fd = ::socket(at.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_storage storage;
  const socklen_t size = to_sockaddr(at, storage);
  if (fd >= 0 && ::bind(fd, reinterpret_cast<const sockaddr*>(&storage), size) == 0 && ::listen(fd, 16) == 0) return fd;
  const std::string why = std::strerror(errno);
  if (fd >= 0) ::close(fd);
  return std::unexpected(failure{fmt::format("metrics port {}: {}", at.text(), why), "choose another with --metrics"});
}

MHD_Daemon* start_daemon(int fd, MHD_AccessHandlerCallback callback, control_server::impl* self, unsigned threads) {
  return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, nullptr, nullptr, callback, self, MHD_OPTION_LISTEN_SOCKET,
                          fd, MHD_OPTION_THREAD_POOL_SIZE, threads, MHD_OPTION_NOTIFY_COMPLETED, on_completed, self,
                          MHD_OPTION_CONNECTION_TIMEOUT, 60u, MHD_OPTION_END);
}

} // namespace

outcome<std::unique_ptr<control_server>> control_server::start(const std::string& socket_path,
                                                               const endpoint* metrics_at, control_handler handler) {
  auto made = std::make_unique<impl>();
  made->handler = std::move(handler);
  const outcome<int> fd = listen_unix(socket_path);
  if (!fd) return std::unexpected(fd.error());
  made->socket_path = socket_path;
  made->unix_daemon = start_daemon(*fd, on_unix, made.get(), 4);
  if (made->unix_daemon == nullptr) return std::unexpected(failure{"the control server could not start"});
  if (metrics_at != nullptr) {
    const outcome<int> tcp = listen_tcp(*metrics_at);
    if (!tcp) return std::unexpected(tcp.error());
    made->tcp_daemon = start_daemon(*tcp, on_tcp, made.get(), 2);
    if (made->tcp_daemon == nullptr) return std::unexpected(failure{"the metrics server could not start"});
  }
  return std::unique_ptr<control_server>(new control_server(std::move(made)));
}

control_server::control_server(std::unique_ptr<impl> i) : impl_(std::move(i)) {}
control_server::~control_server() = default;

} // namespace skald::node
