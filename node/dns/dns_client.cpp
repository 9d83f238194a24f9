#include "node/dns/dns_client.hpp"

#include "base/metrics.hpp"
#include "dnsupdate/answer.hpp"

#include <algorithm>
#include <ares.h>
#include <arpa/nameser.h>
#include <fmt/format.h>
#include <map>
#include <sys/time.h>

namespace skald::node {
namespace {

metrics::counter queries("skald_dns_client_queries_total", "DNS queries asked");
metrics::counter refused("skald_dns_client_refused_total", "DNS queries refused: too many under way");

int wire_type(sip::dns_type t) {
  switch (t) {
  case sip::dns_type::a: return ns_t_a;
  case sip::dns_type::aaaa: return ns_t_aaaa;
  case sip::dns_type::srv: return ns_t_srv;
  case sip::dns_type::naptr: return ns_t_naptr;
  }
  return ns_t_a;
}

struct asked {
  dns_client::impl* owner;
  std::string name;
  sip::dns_type type;
  sip::dns_port::callback done;
};

} // namespace

// c-ares tells which sockets it wants watched; each has a one-shot watch that is set again after each event.
struct dns_client::impl {
  struct watched {
    explicit watched(loop& on, int fd) : watch(on, fd) {}
    fd_watch watch;
    bool readable = false, writable = false, read_set = false, write_set = false;
  };

  explicit impl(loop& on) : events(on) {}
  ~impl() {
    events.timers().cancel(timer);
    if (channel != nullptr) ares_destroy(channel);
  }

  static void on_socket(void* self, ares_socket_t fd, int readable, int writable) {
    auto* me = static_cast<impl*>(self);
    if (readable == 0 && writable == 0) {
      me->sockets.erase(fd);
      return;
    }
    auto& w = me->sockets[fd];
    if (!w) w = std::make_unique<watched>(me->events, fd);
    w->readable = readable != 0;
    w->writable = writable != 0;
    me->arm(fd, *w);
  }

  void arm(int fd, watched& w) {
    if (w.readable && !w.read_set) {
      w.read_set = true;
      w.watch.when_readable([this, fd] { ready(fd, true); });
    }
    if (w.writable && !w.write_set) {
      w.write_set = true;
      w.watch.when_writable([this, fd] { ready(fd, false); });
    }
  }

  void ready(int fd, bool for_reading) {
    auto found = sockets.find(fd);
    if (found == sockets.end()) return;
    (for_reading ? found->second->read_set : found->second->write_set) = false;
    ares_process_fd(channel, for_reading ? fd : ARES_SOCKET_BAD, for_reading ? ARES_SOCKET_BAD : fd);
    found = sockets.find(fd); // the call may have closed it
    if (found != sockets.end()) arm(fd, *found->second);
    set_timer();
  }

  void set_timer() {
    events.timers().cancel(timer);
    timeval most{5, 0}, left{};
    if (under_way == 0) return;
    const timeval* t = ares_timeout(channel, &most, &left);
    const duration wait = seconds(t->tv_sec) + std::chrono::microseconds(t->tv_usec) + milliseconds(1);
    timer = events.timers().at(events.now() + wait, [this] {
      ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
      set_timer();
    });
  }

  static void on_answer(void* arg, int status, int, unsigned char* bytes, int size) {
    const std::unique_ptr<asked> a(static_cast<asked*>(arg));
    --a->owner->under_way;
    sip::dns_answer answer;
    // c-ares hands the raw answer out for "no such name" and "no data" too: TTLs and the SOA are in it.
    if (bytes != nullptr && (status == ARES_SUCCESS || status == ARES_ENOTFOUND || status == ARES_ENODATA))
      answer = dnsupdate::parse_answer({reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)}, a->name, a->type);
    a->done(std::move(answer));
  }

  loop& events;
  ares_channel channel = nullptr;
  std::map<ares_socket_t, std::unique_ptr<watched>> sockets;
  timer_id timer = timer_id::none;
  std::size_t under_way = 0;
};

outcome<std::unique_ptr<dns_client>> dns_client::make(loop& on, const std::string& servers) {
  static const int once = ares_library_init(ARES_LIB_INIT_ALL);
  if (once != ARES_SUCCESS) return std::unexpected(failure{"the DNS client cannot start"});
  auto made = std::make_unique<impl>(on);
  ares_options options{};
  options.timeout = dns_timeout_ms;
  options.tries = dns_tries;
  options.flags = ARES_FLAG_EDNS;
  options.ednspsz = 1232;
  options.sock_state_cb = &impl::on_socket;
  options.sock_state_cb_data = made.get();
  const int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ;
  int code = ares_init_options(&made->channel, &options, mask);
  if (code == ARES_SUCCESS && !servers.empty()) code = ares_set_servers_ports_csv(made->channel, servers.c_str());
  if (code != ARES_SUCCESS)
    return std::unexpected(failure{fmt::format("the DNS client cannot start: {}", ares_strerror(code)), "check /etc/resolv.conf"});
  return std::unique_ptr<dns_client>(new dns_client(std::move(made)));
}

dns_client::dns_client(std::unique_ptr<impl> i) : impl_(std::move(i)) {}
dns_client::~dns_client() = default;

void dns_client::query(std::string name, sip::dns_type type, callback done) {
  if (impl_->under_way >= dns_queries_max || name.empty() || name.size() > 253) {
    refused.add();
    return done({});
  }
  queries.add();
  ++impl_->under_way;
  auto a = std::make_unique<asked>(asked{impl_.get(), std::move(name), type, std::move(done)});
  const std::string& wanted = a->name;
  // ares_query, not ares_search: SIP names are whole, and no search domain is added to them.
  ares_query(impl_->channel, wanted.c_str(), ns_c_in, wire_type(type), &impl::on_answer, a.release());
  impl_->set_timer();
}

} // namespace skald::node
