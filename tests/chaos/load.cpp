// The load of tests/chaos: many phones, one process. Commands on standard input, one a line; answers in JSON, one a line.
//   register        every phone once, at the rate; says {"registered":N}
//   run             REGISTERs and calls at their rates, until `stop`
//   fell NAME       that node does not live from now on: what goes through it is excused
//   down NAME       its phones notice, and go elsewhere
//   up NAME         it serves again
//   stop            nothing new; says {"stopped":true} when every request has ended and every call is over
//   verify          what each living node still knows of each registration, beside what was acknowledged
//   report          the counts
// Why not sipp: it must know which answers each subscriber had, under which serial number, and through an edge of which
// life; and go to another edge as a phone does.
#include "tests/chaos/load.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <iostream>
#include <map>
#include <numeric>
#include <string>
#include <unistd.h>

namespace chaos {

namespace {

constexpr std::size_t examples_max = 20;

edge parse_edge(const std::string& text) { // NAME=IP:PORT
  const auto equals = text.find('='), colon = text.rfind(':');
  edge e{.name = text.substr(0, equals)};
  e.address.sin_family = AF_INET;
  e.address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(text.c_str() + colon + 1)));
  if (inet_pton(AF_INET, text.substr(equals + 1, colon - equals - 1).c_str(), &e.address.sin_addr) != 1)
    std::fprintf(stderr, "load: no node: %s\n", text.c_str()), std::exit(2);
  return e;
}

std::string json(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& l : lines)
    if (!l.empty()) out += fmt::format("{}\"{}\"", out.empty() ? "" : ",", l);
  return fmt::format(R"({{"count":{},"examples":[{}]}})", lines.size(), out);
}

std::string json(const std::map<int, std::uint64_t>& by_status) {
  std::string out;
  for (const auto& [status, n] : by_status) out += fmt::format("{}\"{}\":{}", out.empty() ? "" : ",", status, n);
  return "{" + out + "}";
}

std::string json(gaps g) {
  std::ranges::sort(g.seconds);
  const auto at = [&](double share) {
    return g.seconds.empty() ? 0 : g.seconds[std::min(g.seconds.size() - 1, static_cast<std::size_t>(share * static_cast<double>(g.seconds.size())))];
  };
  const auto over = [&](double s) { return g.seconds.end() - std::ranges::upper_bound(g.seconds, s); };
  return fmt::format(R"({{"count":{},"median_s":{:.4f},"p99_s":{:.3f},"max_s":{:.3f},"over_1_s":{},"over_2_s":{}}})", g.seconds.size(), at(0.5),
                     at(0.99), at(1), over(1), over(2));
}

class load {
public:
  explicit load(const options& o, std::vector<edge> edges) : world_(o), registrations_(world_), calls_(world_) {
    world_.edges = std::move(edges);
    for (std::size_t i = 0; i < o.users; ++i)
      world_.phones.push_back(std::make_unique<phone>(world_, fmt::format("p{}", i), i % world_.edges.size(),
                                                      i % 4 == 3 && !o.nat_space.empty() ? place::behind_nat : place::street));
    fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
    world_.events.watch(0, [this] { read(); });
  }
  void run() { world_.events.run(); }

private:
  static void say(const std::string& line) { std::printf("%s\n", line.c_str()), std::fflush(stdout); }

  void read() {
    char buffer[4096];
    const ssize_t n = ::read(0, buffer, sizeof buffer);
    if (n == 0) return world_.events.stop();
    if (n < 0) return;
    line_.append(buffer, static_cast<std::size_t>(n));
    for (std::size_t end; (end = line_.find('\n')) != std::string::npos; line_.erase(0, end + 1)) command(line_.substr(0, end));
  }

  void command(const std::string& line) {
    const std::string word = line.substr(0, line.find(' ')), name = word.size() < line.size() ? line.substr(word.size() + 1) : "";
    if (word == "register") registrations_.all_once([this] { say(fmt::format(R"({{"registered":{}}})", world_.phones.size())); });
    else if (word == "run") registrations_.run(), calls_.run();
    else if (word == "fell" || word == "down" || word == "up") set(word, name);
    else if (word == "stop") registrations_.stop(), calls_.stop(), wait_for_the_end();
    else if (word == "verify") registrations_.verify([](const std::string& found) { say(found); });
    else if (word == "report") report();
    else std::fprintf(stderr, "load: no command: %s\n", line.c_str());
  }

  void set(const std::string& word, const std::string& name) {
    for (edge& e : world_.edges) {
      if (e.name != name) continue;
      if (word == "up") e.alive = e.up = true;
      if (word == "fell") e.alive = false, ++e.falls;
      if (word != "down") continue;
      e.up = false;
      world_.out.down(e);
      registrations_.down(world_.index_of(&e));
    }
  }

  void wait_for_the_end() {
    if (!registrations_.busy() && calls_.open() == 0 && world_.out.under_way() == 0) return say(R"({"stopped":true})");
    world_.events.after(milliseconds(50), [this] { wait_for_the_end(); });
  }

  void report() {
    const counts& c = world_.counted;
    const request_counts& r = world_.out.counts();
    say(fmt::format(R"({{"requests":{},"repeated":{},"answered":{},"edge_fell":{},"unanswered":{},"twice":{},"registered":{},)"
                    R"("register_answers":{},"call_answers":{},"set_up":{},"ended":{},"in_dialog":{},"excused":{},"broken":{},"wrong_no":{},)"
                    R"("rung_twice":{},"slow":{},"slow_registers":{},"failed":{},"late_ok":{},"gap_living":{},"gap_behind_dead":{},"gap_calls":{},"gap_calls_dead":{},"gap_calls_dead_nat":{}}})",
                    r.sent, r.repeated, r.answered, r.edge_fell, json(r.unanswered), json(r.twice), c.registered, json(c.register_answers),
                    json(c.call_answers), c.set_up, c.ended, c.in_dialog, c.excused, json(c.broken), json(c.wrong_no), json(c.rung_twice), json(c.slow), json(c.slow_registers),
                    json(c.failed), c.late_ok,
                    json(c.living), json(c.behind_dead), json(c.calls), json(c.calls_behind_dead), json(c.calls_behind_dead_nat)));
  }

  world world_;
  registrations registrations_;
  calls calls_;
  std::string line_;
};

} // namespace

void note(std::vector<std::string>& into, std::string line) {
  if (into.size() < examples_max) into.push_back(std::move(line));
  else into.emplace_back();
}

std::int64_t world::wall_ms() const {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return (t.tv_sec % 86400) * 1000 + t.tv_nsec / 1'000'000;
}

edge* world::living() {
  std::vector<edge*> up;
  for (edge& e : edges)
    if (e.up) up.push_back(&e);
  return up.empty() ? nullptr : up[random.below(up.size())];
}

edge* world::living_near(std::size_t at) {
  return edges[at].up ? &edges[at] : living();
}

// The same request by another way (RFC 3261 §8.2.2.2), where the first way's edge lives.
void world::note_rung_twice(const phone& p, const incoming& first, const sockaddr_in& source, const std::string& branch) {
  const edge *before = edge_at(first.source), *now = edge_at(source);
  if (before == nullptr || !before->lived(first.falls)) return;
  const auto after = std::chrono::duration_cast<milliseconds>(events.now() - first.came);
  note(counted.rung_twice, fmt::format("{} of call {}: {} through {}{}{}{}, and {} through {} {} ms later (at {} ms of the day)", p.user, first.call_id, first.branch,
                                       before->name, first.answered ? ", answered" : "", first.acknowledged ? ", acknowledged" : "",
                                       first.cancelled ? ", cancelled" : "", branch, now == nullptr ? "?" : now->name, after.count(), wall_ms()));
}

edge* world::edge_at(const sockaddr_in& source) {
  const auto it = std::ranges::find_if(edges, [&](const edge& e) { return e.address.sin_addr.s_addr == source.sin_addr.s_addr; });
  return it == edges.end() ? nullptr : &*it;
}

} // namespace chaos

int main(int argc, char** argv) {
  chaos::options o;
  std::vector<chaos::edge> edges;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--domain") o.domain = value;
    else if (key == "--ip") o.ip = value;
    else if (key == "--nat") o.nat_space = value.substr(0, value.find('=')), o.nat_ip = value.substr(value.find('=') + 1);
    else if (key == "--password") o.password = value;
    else if (key == "--users") o.users = static_cast<std::size_t>(std::atoi(value.c_str()));
    else if (key == "--rate") o.rate = std::atof(value.c_str());
    else if (key == "--calls") o.calls = std::atof(value.c_str());
    else if (key == "--hold") o.hold_s = std::atof(value.c_str());
    else if (key == "--expires") o.expires_s = std::atoi(value.c_str());
    else if (key == "--seed") o.seed = std::strtoull(value.c_str(), nullptr, 10);
    else if (key == "--node") edges.push_back(chaos::parse_edge(value));
    else edges.clear(), i = argc;
  }
  if (edges.empty() || o.users < 2 || o.rate <= 0 || o.calls < 0) {
    std::fprintf(stderr, "usage: load --node NAME=IP:PORT... [--domain D] [--ip IP] [--nat NAMESPACE=IP] [--password P] [--users N] [--rate R] [--calls C]\n"
                         "            [--hold S] [--expires S] [--seed N]\n");
    return 2;
  }
  chaos::load(o, std::move(edges)).run();
  return 0;
}
