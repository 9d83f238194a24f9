#include "roles/core/waiting_lines.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <functional>
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

struct arrival {
  urgency u;
  ip_address from;
  mono_time at;
};

// A worker that can do `capacity` units of work a second, in virtual time: a kernel's buffer that loses what finds no
// place, reading, serving and refusing at their prices. What it does with an arrival is what worker_unit does.
class plant {
public:
  explicit plant(double capacity) : per_step_(capacity * step_s) {}

  static constexpr double step_s = 0.001, read_price = 0.03, refusal_price = 0.3; // of one request served
  static constexpr std::size_t buffer = 13'000;

  void offer(urgency u, const ip_address& from, double per_second) {
    double& owed = owed_[{u, from}];
    for (owed += per_second * step_s; owed >= 1; owed -= 1)
      offered_.push_back({u, from, now_});
  }
  void step() {
    arrive();
    budget_ = std::min(budget_, 0.0) + per_step_; // what a request took too much is missing in the next step
    const bool behind = !in_kernel_.empty() && now_ - in_kernel_.front().at > standing_queue;
    for (const double left = budget_ * (behind ? 0.2 : 0.5); budget_ > left && !in_kernel_.empty();) read();
    serve();
    while (budget_ > 0 && !in_kernel_.empty()) read(), serve();
    control.turn_ended();
    now_ += milliseconds(1);
    if (++steps_ % 100 != 0) return;
    control.tick(0);
    levels.push_back(control.level());
  }
  void run(int seconds_of, const std::function<void()>& load) {
    for (int i = 0; i < seconds_of * 1000; ++i) load(), step();
  }
  // Tenths of a second at the end in which the level differs from their mean by more than `allowed`.
  std::size_t swings(std::size_t tenths, double allowed) const {
    double mean = 0;
    for (std::size_t i = levels.size() - tenths; i < levels.size(); ++i) mean += levels[i] / static_cast<double>(tenths);
    return static_cast<std::size_t>(std::count_if(levels.end() - static_cast<std::ptrdiff_t>(tenths), levels.end(), [&](double l) { return std::abs(l - mean) > allowed; }));
  }

  seeded_rng random{7};
  admission control{random};
  waiting_lines<arrival> lines;
  std::map<urgency, unsigned> served, refused, dropped;
  std::map<ip_address, unsigned> served_from, turned_away_from;
  std::map<urgency, duration> longest; // from the kernel to the service
  std::vector<double> levels;
  unsigned lost = 0;
  mono_time now() const { return now_; }

private:
  // In any order: a full buffer must not always lose the same ones.
  void arrive() {
    for (std::size_t i = offered_.size(); i > 1; --i) std::swap(offered_[i - 1], offered_[random.below(i)]);
    for (const arrival& a : offered_)
      if (in_kernel_.size() < buffer) in_kernel_.push_back(a);
      else ++lost;
    offered_.clear();
  }
  void read() {
    arrival a = in_kernel_.front();
    in_kernel_.pop_front();
    budget_ -= read_price;
    control.heard(a.from);
    const urgency u = control.floods(a.from) ? urgency::flood : a.u;
    if (control.at_once(u, lines.empty() ? now_ - a.at : others_wait)) return done(a);
    if (lines.has_place(u, 400)) return lines.push(u, a, 400, now_);
    turn_away(a, control.turn_away(u));
  }
  void serve() {
    while (budget_ > 0) {
      const auto t = lines.next(control, now_);
      if (!t) return;
      if (t->what == fate::serve) done(t->item);
      else turn_away(t->item, t->what);
    }
  }
  void done(const arrival& a) {
    ++served[a.u], ++served_from[a.from];
    longest[a.u] = std::max(longest[a.u], now_ - a.at);
    budget_ -= 1;
  }
  void turn_away(const arrival& a, fate how) {
    ++(how == fate::refuse ? refused : dropped)[a.u], ++turned_away_from[a.from];
    if (how == fate::refuse) budget_ -= refusal_price;
  }

  double per_step_, budget_ = 0;
  mono_time now_{seconds(1)};
  unsigned steps_ = 0;
  std::deque<arrival> in_kernel_;
  std::vector<arrival> offered_; // in this step
  std::map<std::pair<urgency, ip_address>, double> owed_;
};

unsigned turned_away(plant& p, urgency u) { return p.refused[u] + p.dropped[u]; }

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

TEST_CASE("admission: a REGISTER is known by its first line, and whether it has credentials, without parsing") {
  const std::string start = "REGISTER sip:a SIP/2.0\r\nVia: x\r\n";
  CHECK(first_look(start + "\r\n") == urgency::registration);
  CHECK(first_look(start + "AUTHORIZATION: Digest\r\n\r\n") == urgency::answer);
  CHECK(first_look(start + "Call-ID: 1\nauthorization : Digest\n\n") == urgency::answer);
  CHECK(first_look(start + "\r\nAuthorization: in the body\r\n") == urgency::registration);
  CHECK_FALSE(first_look("INVITE sip:a SIP/2.0\r\nAuthorization: x\r\n\r\n").has_value());
  CHECK_FALSE(first_look("").has_value());
}

TEST_CASE("admission: a burst that is worked off turns nobody away") {
  plant p(1000);
  for (unsigned i = 0; i < 250; ++i) p.offer(urgency::registration, host(i), 1000); // all in one millisecond
  p.run(3, [&] { p.offer(urgency::registration, host(1), 600); });
  CHECK(turned_away(p, urgency::registration) == 0);
  CHECK(p.control.level() == 0);
}

TEST_CASE("admission: three times too many registrations: calls and dialogs go on, and as many registrations as there is time for") {
  plant p(20'000);
  p.run(30, [&] {
    for (unsigned h = 0; h < 60; ++h) p.offer(urgency::registration, host(h), 1000);
    p.offer(urgency::answer, host(70), 200);
    p.offer(urgency::call, host(71), 500);
    p.offer(urgency::established, host(72), 500);
  });
  CHECK(turned_away(p, urgency::established) == 0);
  CHECK(turned_away(p, urgency::call) == 0);
  CHECK(turned_away(p, urgency::answer) < 100); // of 6000: at the beginning
  CHECK(p.longest[urgency::call] < milliseconds(50));
  CHECK(p.longest[urgency::registration] < milliseconds(600)); // while it begins; later waiting_max
  // Of 20 000 units 1200 are for the urgent and some 1850 for reading; of the rest each that serves pays one refusal.
  CHECK(p.served[urgency::registration] > 30 * 12'000);
  CHECK(p.refused[urgency::registration] > 30 * 12'000);
  CHECK(p.refused[urgency::registration] < 30 * 14'000);
  CHECK(p.lost == 0);
  CHECK(p.swings(200, 0.02) == 0);
  // It ends with the load.
  p.run(10, [&] { p.offer(urgency::registration, host(1), 5000); });
  CHECK(p.control.level() == 0);
  CHECK(p.lines.empty());
}

TEST_CASE("admission: more registrations than can even be read: what is read of calls is served, the level does not swing") {
  plant p(1000); // can read 33 000 a second if it does nothing else
  p.run(20, [&] {
    for (unsigned h = 0; h < 60; ++h) p.offer(urgency::registration, host(h), 400);
    p.offer(urgency::call, host(71), 50);
  });
  CHECK(turned_away(p, urgency::call) < 50);    // at the beginning, while the kernel's buffer runs full
  CHECK(p.served[urgency::call] > 500);         // of 1000; the kernel loses the others, as it loses registrations
  CHECK(p.served[urgency::registration] > 500);
  CHECK(p.swings(100, 0.02) == 0);
  p.run(10, [] {});
  CHECK(p.control.level() == 0);
}

TEST_CASE("admission: three times too many calls: dialogs go on, registrations stand back, and the line of calls stays short") {
  plant p(1000);
  p.run(30, [&] {
    for (unsigned h = 0; h < 30; ++h) p.offer(urgency::call, host(h), 100);
    p.offer(urgency::established, host(200), 100);
    p.offer(urgency::answer, host(201), 50);
  });
  CHECK(turned_away(p, urgency::established) == 0);
  CHECK(p.served[urgency::established] >= 2999); // one may be on its way
  CHECK(p.longest[urgency::established] < milliseconds(50));
  CHECK(turned_away(p, urgency::call) > 50'000);
  CHECK(p.served[urgency::call] > 30 * 100);
  CHECK(p.longest[urgency::call] < milliseconds(600));
  CHECK(turned_away(p, urgency::answer) > p.served[urgency::answer]);
  CHECK(p.control.level() > 1.5);
  CHECK(p.swings(200, 0.03) == 0);
}

TEST_CASE("admission: a load that goes up and down around what can be done is not answered with swings") {
  plant p(10'000);
  int ms = 0;
  p.run(30, [&] {
    const double factor = ms++ / 500 % 2 == 0 ? 1.4 : 0.8; // for half a second each
    for (unsigned h = 0; h < 50; ++h) p.offer(urgency::registration, host(h), 200 * factor);
    p.offer(urgency::call, host(71), 300);
  });
  CHECK(turned_away(p, urgency::call) == 0);
  CHECK(p.served[urgency::registration] > 30 * 8000);
  CHECK(*std::max_element(p.levels.begin(), p.levels.end()) < 0.5);
}

TEST_CASE("admission: a flood from one address waits behind everybody else, and others do not feel it") {
  plant p(1000);
  unsigned others = 0;
  p.run(10, [&] {
    p.offer(urgency::established, host(9), 500); // in whatever it sends
    p.offer(urgency::registration, host(9), 5000);
    for (unsigned h = 100; h < 150; ++h) p.offer(urgency::registration, host(h), 5);
  });
  for (unsigned h = 100; h < 150; ++h) others += p.turned_away_from[host(h)];
  CHECK(others < 250);               // of 2500: before the flood was known as one
  CHECK(p.served_from[host(9)] > 2000); // what is left is its
  CHECK(p.turned_away_from[host(9)] > 30'000);
  CHECK(p.refused[urgency::registration] < 2000); // a flood is not answered
}

TEST_CASE("admission: who only sends credentials does not keep out those who have none yet") {
  plant p(1000);
  p.run(10, [&] {
    for (unsigned h = 0; h < 40; ++h) p.offer(urgency::answer, host(h), 100);
    for (unsigned h = 50; h < 60; ++h) p.offer(urgency::registration, host(h), 10);
  });
  CHECK(p.served[urgency::registration] > 500); // of 1000
}

TEST_CASE("admission: while writes wait, registrations do, and calls do not") {
  seeded_rng random(3);
  admission a(random);
  for (unsigned n = 0; n < 200; ++n) a.heard(host(n));
  a.held_up(true);
  CHECK_FALSE(a.at_once(urgency::answer, duration{0}));
  CHECK(a.at_once(urgency::call, duration{0}));
  admission::waits heads;
  heads.fill(duration{-1});
  heads[static_cast<std::size_t>(urgency::answer)] = milliseconds(10);
  CHECK_FALSE(a.next(heads, mono_time{seconds(1)}).has_value());
  heads[static_cast<std::size_t>(urgency::call)] = milliseconds(1);
  CHECK(a.next(heads, mono_time{seconds(1)})->line == urgency::call);
  a.held_up(false);
  heads[static_cast<std::size_t>(urgency::call)] = duration{-1};
  CHECK(a.next(heads, mono_time{seconds(1)})->line == urgency::answer);
  // It lasts: they are turned away.
  a.held_up(true);
  std::optional<admission::decision> d;
  for (int i = 0; i <= 40; ++i) {
    heads[static_cast<std::size_t>(urgency::answer)] = milliseconds(10 * i);
    d = a.next(heads, mono_time{seconds(2)} + milliseconds(10 * i));
    if (i < 30) CHECK_FALSE(d.has_value());
  }
  REQUIRE(d.has_value());
  CHECK(d->what == fate::refuse);
}

TEST_CASE("admission: a machine that stands still turns nobody away where little comes; nor does a hiccup under load") {
  seeded_rng random(3);
  admission a(random);
  admission::waits heads;
  heads.fill(duration{-1});
  auto& first = heads[static_cast<std::size_t>(urgency::registration)];
  mono_time now{seconds(1)};
  for (int i = 0; i < 50; ++i, now += admission_interval) {
    for (int n = 0; n < 10; ++n) a.heard(host(1));
    first = seconds(1);
    CHECK(a.next(heads, now)->what == fate::serve);
    a.tick(0);
  }
  for (int i = 0; i < 50; ++i, now += admission_interval) {
    for (unsigned n = 0; n < 200; ++n) a.heard(host(n));
    first = i % 5 < 2 ? duration(seconds(1)) : duration(milliseconds(1));
    CHECK(a.next(heads, now)->what == fate::serve);
    a.tick(0);
    CHECK_FALSE(a.pressed());
  }
}

TEST_CASE("admission: Retry-After is spread out, and further with the overload") {
  seeded_rng random(3);
  admission a(random);
  std::array<std::uint32_t, 2> most{};
  for (const std::size_t high : {0u, 1u}) {
    for (std::size_t i = 0; i < 50 * high; ++i) {
      a.turn_away(urgency::registration);
      a.tick(0);
    }
    std::uint32_t least = ~0u;
    for (int i = 0; i < 1000; ++i) {
      const std::uint32_t s = a.retry_after_s();
      least = std::min(least, s);
      most[high] = std::max(most[high], s);
    }
    CHECK(least == 3);
  }
  CHECK(most[0] == 8); // at the very beginning: many are turned away before the level has risen
  CHECK(most[1] >= 25);
}

TEST_CASE("admission: the addresses of one IPv6 /64 are one source") {
  seeded_rng random(3);
  admission a(random);
  const auto in = [](unsigned net, unsigned n) { return *ip_address::parse("2001:db8:0:" + std::to_string(net) + "::" + std::to_string(n)); };
  for (unsigned n = 0; n < 200; ++n) a.heard(in(1, n)), a.heard(in(100 + n, 1));
  a.turn_away(urgency::registration);
  REQUIRE(a.pressed());
  CHECK(a.floods(in(1, 7)));
  CHECK(a.floods(in(1, 9999)));
  CHECK_FALSE(a.floods(in(107, 1)));
}

TEST_CASE("admission: memory turns away who has no credentials, then calls too, however short the lines are") {
  plant p(1000);
  const auto asked = [&](urgency u, double floor) {
    p.control.tick(floor);
    if (p.control.at_once(u, duration{0})) return fate::serve;
    admission::waits heads;
    heads.fill(duration{-1});
    heads[static_cast<std::size_t>(u)] = duration{0};
    p.control.turn_ended();
    return p.control.next(heads, p.now())->what;
  };
  CHECK(asked(urgency::registration, 1) == fate::refuse);
  CHECK(asked(urgency::answer, 1) == fate::serve); // most are refreshes; what is new the store refuses
  CHECK(asked(urgency::call, 1) == fate::serve);
  CHECK(asked(urgency::call, 2) == fate::refuse);
  CHECK(asked(urgency::answer, 2) == fate::refuse);
  CHECK(asked(urgency::established, 2) == fate::serve);
  for (int i = 0; i < 100; ++i) p.control.tick(0);
  CHECK(p.control.level() == 0);
}

TEST_CASE("waiting lines: bounded by number and bytes, oldest first") {
  seeded_rng random(3);
  admission a(random);
  waiting_lines<int> lines;
  const mono_time t{seconds(1)};
  CHECK_FALSE(lines.has_place(urgency::answer, line_bytes_max + 1));
  lines.push(urgency::answer, 1, line_bytes_max - 10, t);
  CHECK_FALSE(lines.has_place(urgency::answer, 11));
  CHECK(lines.has_place(urgency::registration, 11));
  lines.push(urgency::answer, 2, 10, t);
  CHECK(lines.next(a, t)->item == 1);
  CHECK(lines.has_place(urgency::answer, 11));
  CHECK(lines.next(a, t)->item == 2);
  CHECK(lines.empty());
  for (std::size_t i = 0; i < line_requests_max; ++i) lines.push(urgency::call, 0, 1, t);
  CHECK_FALSE(lines.has_place(urgency::call, 1));
}
