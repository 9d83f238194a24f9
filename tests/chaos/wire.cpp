// A network in user space, where the kernel has no netem: one tun device in each namespace, and between them delay,
// jitter and loss. IPv4 packets go by their destination; cuts are nft's (tests/chaos/world.py), as without delay.
//   wire --delay-ms D --jitter-ms J --loss P --seed N NAMESPACE,DEVICE,IP...
// Each direction of a pair keeps its order, as a path does. Says "ready" when all devices are there; ends with its input.
#include "base/rng.hpp"
#include "tests/chaos/loop.hpp"

#include <arpa/inet.h>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <map>
#include <memory>
#include <sched.h>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace chaos;

constexpr std::size_t packets_max = 100'000; // under way; more are lost, as in a router's queue

struct port {
  int fd = -1;
  in_addr ip{};
};

[[noreturn]] void fail(const std::string& what) {
  std::perror(what.c_str());
  std::exit(1);
}

// A tun device is the namespace's in which it is made; its file is ours.
port open_port(const std::string& text) {
  const auto first = text.find(','), second = text.find(',', first + 1);
  const std::string space = text.substr(0, first), device = text.substr(first + 1, second - first - 1), ip = text.substr(second + 1);
  port p;
  if (second == std::string::npos || inet_pton(AF_INET, ip.c_str(), &p.ip) != 1) fail("not NAMESPACE,DEVICE,IP: " + text);
  const int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), there = open(("/run/netns/" + space).c_str(), O_RDONLY | O_CLOEXEC);
  if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0) fail(space);
  p.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  ifreq r{};
  r.ifr_flags = IFF_TUN | IFF_NO_PI;
  device.copy(static_cast<char*>(r.ifr_name), IFNAMSIZ - 1);
  if (p.fd < 0 || ioctl(p.fd, TUNSETIFF, &r) != 0) fail(device);
  if (setns(home, CLONE_NEWNET) != 0) fail("setns");
  close(home);
  close(there);
  return p;
}

class wire {
public:
  wire(double delay_ms, double jitter_ms, double loss, std::uint64_t seed)
      : delay_us_(delay_ms * 1000), jitter_us_(jitter_ms * 1000), loss_(loss), random_(seed) {}

  void add(const std::string& text) {
    ports_.push_back(open_port(text));
    const std::size_t at = ports_.size() - 1;
    by_ip_[ports_[at].ip.s_addr] = at;
    events_.watch(ports_[at].fd, [this, at] { read(at); });
  }

  void run() {
    events_.watch(0, [this] {
      char c;
      if (::read(0, &c, 1) <= 0) events_.stop();
    });
    std::puts("ready");
    std::fflush(stdout);
    events_.run();
  }

private:
  void read(std::size_t from) {
    std::array<char, 65536> buffer;
    for (;;) {
      const ssize_t n = ::read(ports_[from].fd, buffer.data(), buffer.size());
      if (n <= 0) return;
      if (n < 20 || (buffer[0] >> 4) != 4) continue; // IPv4 alone
      in_addr_t destination;
      std::memcpy(&destination, buffer.data() + 16, sizeof destination);
      const auto to = by_ip_.find(destination);
      if (to == by_ip_.end() || random_.chance(loss_) || under_way_ >= packets_max) continue;
      pass(from, to->second, std::string(buffer.data(), static_cast<std::size_t>(n)));
    }
  }

  void pass(std::size_t from, std::size_t to, std::string packet) {
    mono_time& last = last_[{from, to}];
    last = std::max(last, events_.now() + duration(static_cast<std::int64_t>(delay_us_ + jitter_us_ * random_.unit())));
    ++under_way_;
    events_.after(last - events_.now(), [this, to, packet = std::move(packet)] {
      --under_way_;
      (void)!write(ports_[to].fd, packet.data(), packet.size());
    });
  }

  loop events_;
  double delay_us_, jitter_us_, loss_;
  skald::seeded_rng random_;
  std::vector<port> ports_;
  std::map<in_addr_t, std::size_t> by_ip_;
  std::map<std::pair<std::size_t, std::size_t>, mono_time> last_; // when the packet before arrives
  std::size_t under_way_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  double delay_ms = 0, jitter_ms = 0, loss = 0;
  std::uint64_t seed = 1;
  int i = 1;
  for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
    const std::string_view key = argv[i];
    if (key == "--delay-ms") delay_ms = std::atof(argv[i + 1]);
    else if (key == "--jitter-ms") jitter_ms = std::atof(argv[i + 1]);
    else if (key == "--loss") loss = std::atof(argv[i + 1]);
    else if (key == "--seed") seed = std::strtoull(argv[i + 1], nullptr, 10);
    else break;
  }
  if (i >= argc || argv[i][0] == '-') {
    std::fprintf(stderr, "usage: wire [--delay-ms D] [--jitter-ms J] [--loss P] [--seed N] NAMESPACE,DEVICE,IP...\n");
    return 2;
  }
  wire w(delay_ms, jitter_ms, loss, seed);
  for (; i < argc; ++i) w.add(argv[i]);
  w.run();
  return 0;
}
