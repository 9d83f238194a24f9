#include "roles/core/admission.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>

using namespace skald;
using namespace skald::roles;

namespace {

sip::message request(std::string_view method, std::string_view uri, std::string_view to) {
  const std::string text = std::string(method) + " " + std::string(uri) +
                           " SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: " + std::string(to) +
                           "\r\nCall-ID: c\r\nCSeq: 1 " + std::string(method) + "\r\nContent-Length: 0\r\n\r\n";
  return *sip::message::parse(text);
}

ip_address host(unsigned n) { return *ip_address::parse("10.0." + std::to_string(n / 250) + "." + std::to_string(1 + n % 250)); }

// An edge that can do `capacity` units of work a second; what is refused costs a twentieth of what is taken. Arrivals are
// given for each tenth of a second; the queue is what admission sees of it.
struct edge {
  explicit edge(double capacity) : per_interval(capacity / 10) {}

  struct arrival {
    urgency u;
    ip_address from;
    unsigned at;
  };
  void offer(urgency u, const ip_address& from, unsigned n) {
    for (unsigned i = 0; i < n; ++i) queue.push_back({u, from, now});
  }
  void run() { // one interval
    double left = per_interval;
    if (queue.empty()) left = 0;
    while (left > 0 && !queue.empty()) {
      const arrival a = queue.front();
      queue.pop_front();
      control.waited(milliseconds(100) * static_cast<int>(now - a.at));
      if (!control.hears(a.from, a.u == urgency::answer || a.u == urgency::registration)) {
        ++refused_from[a.from];
        left -= 0.02;
        continue;
      }
      const bool took = control.judge(a.u, a.from);
      ++(took ? taken : refused)[a.u];
      (took ? taken_from : refused_from)[a.from] += 1;
      left -= took ? 1 : 0.05;
    }
    control.tick(duration{0}, 0);
    ++now;
    worst = std::max(worst, queue.size());
  }
  seeded_rng random{7};
  admission control{random};
  double per_interval;
  unsigned now = 0;
  std::deque<arrival> queue;
  std::map<urgency, unsigned> taken, refused;
  std::map<ip_address, unsigned> taken_from, refused_from;
  std::size_t worst = 0;
};

} // namespace

TEST_CASE("admission: in-dialog and emergency requests, calls and registrations are told apart") {
  const std::vector<std::string> emergency{"112"};
  CHECK(urgency_of(request("INVITE", "sip:bob@example.com", "<sip:bob@example.com>"), emergency) == urgency::call);
  CHECK(urgency_of(request("INVITE", "sip:bob@example.com", "<sip:bob@example.com>;tag=9"), emergency) == urgency::established);
  CHECK(urgency_of(request("INVITE", "sip:112@example.com", "<sip:112@example.com>"), emergency) == urgency::established);
  CHECK(urgency_of(request("INVITE", "sip:1123@example.com", "<sip:1123@example.com>"), emergency) == urgency::call);
  CHECK(urgency_of(request("INVITE", "urn:service:sos.fire", "<urn:service:sos.fire>"), {}) == urgency::established);
  CHECK(urgency_of(request("CANCEL", "sip:bob@example.com", "<sip:bob@example.com>"), {}) == urgency::established);
  CHECK(urgency_of(request("REGISTER", "sip:example.com", "<sip:bob@example.com>"), emergency) == urgency::registration);
  CHECK(urgency_of(request("MESSAGE", "sip:bob@example.com", "<sip:bob@example.com>"), emergency) == urgency::call);
}

TEST_CASE("admission: a burst that is worked off turns nobody away") {
  edge e(1000);
  e.offer(urgency::registration, host(1), 90);
  for (int i = 0; i < 50; ++i) e.run();
  CHECK(e.refused.empty());
}

TEST_CASE("admission: three times too many registrations: calls and dialogs go on, and it ends 10 s after the load") {
  edge e(1000);
  for (int i = 0; i < 300; ++i) {
    for (unsigned h = 0; h < 30; ++h) e.offer(urgency::registration, host(h), 10);
    e.offer(urgency::answer, host(50), 1);
    e.offer(urgency::call, host(100 + static_cast<unsigned>(i) % 20), 10);
    e.offer(urgency::established, host(200), 10);
    e.run();
    if (i > 50) CHECK(e.queue.size() < 800); // under a second: it does not run away
  }
  CHECK(e.refused[urgency::established] == 0);
  CHECK(e.refused[urgency::call] < 30);                  // of 3000
  CHECK(e.taken[urgency::answer] > e.refused[urgency::answer] * 3);
  CHECK(e.taken[urgency::registration] > 300 * 60 / 2);  // what is left over is used, half of it at the least
  CHECK(e.refused[urgency::registration] > 30'000);
  for (int i = 0; i < 100; ++i) e.run();
  CHECK(e.control.level() == 0);
  CHECK(e.queue.empty());
}

TEST_CASE("admission: more registrations than can even be refused: they are dropped unread, and calls go on") {
  edge e(1000);
  unsigned calls_refused = 0;
  for (int i = 0; i < 300; ++i) {
    for (unsigned h = 0; h < 100; ++h) e.offer(urgency::registration, host(h), 30); // refusing all would cost 1500
    e.offer(urgency::call, host(200), 10);
    e.run();
    if (i == 100) calls_refused = e.refused[urgency::call];
  }
  CHECK(e.refused[urgency::call] - calls_refused < 300); // of 2000, once it has settled
}

TEST_CASE("admission: three times too many calls: requests in dialogs go on") {
  edge e(1000);
  for (int i = 0; i < 300; ++i) {
    for (unsigned h = 0; h < 30; ++h) e.offer(urgency::call, host(h), 10);
    e.offer(urgency::established, host(200), 10);
    e.run();
  }
  CHECK(e.refused[urgency::established] == 0);
  CHECK(e.refused[urgency::call] > 30'000);
  CHECK(e.worst < 4500); // four to five seconds of work
}

TEST_CASE("admission: a flood from one address is turned away, then not even read, before anybody else is") {
  edge e(1000);
  for (int i = 0; i < 300; ++i) {
    e.offer(urgency::established, host(9), 1000); // in whatever it sends
    for (unsigned h = 100; h < 150; ++h) e.offer(urgency::registration, host(h), 1);
    e.run();
  }
  unsigned others_refused = 0, others_taken = 0;
  for (unsigned h = 100; h < 150; ++h) others_refused += e.refused_from[host(h)], others_taken += e.taken_from[host(h)];
  CHECK(e.refused_from[host(9)] > e.taken_from[host(9)] * 10);
  CHECK(others_taken + others_refused > 5000);
}

TEST_CASE("admission: Retry-After is spread out, and further with the overload") {
  seeded_rng random(3);
  admission a(random);
  std::array<std::uint32_t, 2> most{};
  for (const int high : {0, 1}) {
    for (int i = 0; i < 20 * high; ++i) {
      for (unsigned n = 0; n < 100; ++n) a.hears(host(n), true);
      a.tick(seconds(1), 0);
    }
    std::uint32_t least = ~0u;
    for (int i = 0; i < 1000; ++i) {
      const std::uint32_t s = a.retry_after_s();
      least = std::min(least, s);
      most[static_cast<std::size_t>(high)] = std::max(most[static_cast<std::size_t>(high)], s);
    }
    CHECK(least >= 3);
  }
  CHECK(most[0] <= 6);
  CHECK(most[1] >= 25);
}

TEST_CASE("admission: a machine that stands still turns nobody away where little comes; nor does a hiccup under load") {
  seeded_rng random(3);
  admission a(random);
  for (int i = 0; i < 50; ++i) {
    for (int n = 0; n < 10; ++n) CHECK(a.hears(host(1), true));
    a.tick(seconds(1), 0);
    CHECK(a.judge(urgency::registration, host(1)));
  }
  for (int i = 0; i < 20; ++i) {
    for (unsigned n = 0; n < 200; ++n) CHECK(a.hears(host(n), true));
    a.tick(i % 5 < 2 ? seconds(1) : duration{0}, 0);
    CHECK_FALSE(a.pressed());
  }
}

TEST_CASE("admission: memory keeps the level up however short the queues are") {
  seeded_rng random(3);
  admission a(random);
  a.tick(duration{0}, 1.0);
  CHECK_FALSE(a.judge(urgency::registration, host(1)));
  CHECK(a.judge(urgency::call, host(1)));
  for (int i = 0; i < 30; ++i) a.tick(duration{0}, 0);
  CHECK(a.level() == 0);
}
