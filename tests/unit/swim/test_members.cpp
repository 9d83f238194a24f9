// Coming, changing and going; bodies; time.
#include "tests/sim/swim_net.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace skald;
using namespace skald::dht;
using namespace skald::sim;

namespace {

const member& seen_by(swim_net& net, int by, int whom) { return *net.at(by).current()->find(net.id_of(whom)); }

bool everywhere(swim_net& net, int whom, member_state s) {
  for (int i = 0; i < net.size(); ++i)
    if (net.running(i) && seen_by(net, i, whom).state != s) return false;
  return true;
}

// A membership alone with its ports, which note what is done to them.
struct lone : datagrams, link_port, membership_observer {
  manual_clock time;
  seeded_rng random{1};
  std::vector<std::string> log;
  std::vector<std::pair<node_id, frame>> frames;
  view_ptr last;
  membership m{{.self = id_of(5), .body = {.version = 3, .name = "five"}, .begin = member_state::active}, *this, *this, *this, time, random, time.now()};

  static node_id id_of(std::uint8_t n) {
    node_id id;
    id.bytes[0] = n;
    return id;
  }
  void send(const node_id&, std::string) override {}
  bool send(const node_id& to, frame f) override {
    frames.emplace_back(to, std::move(f));
    return true;
  }
  void told_of(const node_id& whose, const member_body& b) {
    m.body_known(whose, b, time.now());
    time.advance(bodies_gather);
    m.tick(time.now());
  }
  void on_view(view_ptr v) override { last = std::move(v); }
  void on_body_wanted(const node_id& id, std::uint64_t version) override { log.push_back("body " + std::to_string(id.bytes[0]) + " " + std::to_string(version)); }
  void on_self_removed(std::uint64_t, duration) override { log.push_back("removed"); }
  void on_stale(bool stale) override { log.push_back(stale ? "stale" : "fresh"); }
};

} // namespace

TEST_CASE("members: one node alone is a cluster of one, whatever happens to its clock") {
  swim_net net(lan(1, 0, 1));
  net.pause(0, seconds(5));
  net.run_for(std::chrono::minutes(10));
  CHECK(net.at(0).current()->members.size() == 1);
  CHECK(net.at(0).current()->me().state == member_state::active);
  CHECK_FALSE(net.at(0).stale());
  CHECK(net.packets() == 0);
}

TEST_CASE("members: a second node joins, turns active, and both agree") {
  for (const double loss : {0.0, 0.1}) {
    swim_net net(lan(1, loss, 2));
    const int second = net.start(0);
    const auto took = net.run_till(seconds(5), milliseconds(1), [&] { return net.all_full(); });
    REQUIRE(took);
    CHECK(*took <= milliseconds(1300)); // a lost question is asked again after a second
    CHECK(everywhere(net, second, member_state::joining));
    CHECK(net.at(second).joined());
    net.at(second).set_state(member_state::active, net.now());
    net.run_for(milliseconds(300));
    CHECK(everywhere(net, second, member_state::active));
    CHECK(net.all_agree());
    net.run_for(seconds(60));
    CHECK(net.removals().empty());
  }
}

TEST_CASE("members: twenty join at once through one, and all know all within two seconds") {
  swim_net net(lan(3, 0.02, 3));
  for (int i = 0; i < 20; ++i) net.start(i % 2);
  const auto took = net.run_till(seconds(10), milliseconds(10), [&] { return net.all_full(); });
  REQUIRE(took);
  MESSAGE("all know all after ", took->count() / 1000, " ms");
  CHECK(*took <= seconds(2));
  net.run_for(seconds(10));
  CHECK(net.removals().empty());
}

TEST_CASE("members: a restart at once is a new life, joining, and needs no death in between (consistency §6)") {
  swim_net net(lan(5, 0, 4));
  const auto life = net.at(2).life();
  net.kill(2);
  net.restart(2, 0);
  net.run_for(milliseconds(200));
  CHECK(net.at(2).life() > life);
  CHECK(everywhere(net, 2, member_state::joining));
  CHECK(net.all_full());
  CHECK(net.removals().empty());
}

TEST_CASE("members: a restart whose clock went back takes a life above the one that is known") {
  swim_net net(lan(5, 0, 4));
  const auto life = net.at(2).life();
  net.kill(2);
  net.set_clock_offset(2, seconds(-3600));
  net.restart(2, 0);
  net.run_for(milliseconds(500));
  CHECK(net.at(2).life() > life);
  CHECK(net.all_full());
}

TEST_CASE("members: a removed node that starts again is taken up at once") {
  swim_net net(lan(5, 0, 4));
  net.kill(2);
  net.run_for(seconds(30));
  CHECK(everywhere(net, 2, member_state::dead));
  net.restart(2, 0);
  net.run_for(milliseconds(500));
  CHECK(net.all_full());
}

TEST_CASE("members: who leaves is out of every view in an instant, even when datagrams are lost") {
  for (const auto& [n, loss, limit] : {std::tuple{2, 0.0, 2}, {5, 0.0, 2}, {100, 0.0, 3}, {10, 0.1, 60}, {100, 0.1, 60}}) {
    swim_net net(lan(n, loss, 5));
    net.at(1).leave(net.now());
    const auto took = net.run_till(seconds(2), milliseconds(1), [&] { return net.views_with(1) == 0; });
    REQUIRE(took);
    CHECK(*took <= milliseconds(limit));
    net.kill(1);
    net.run_for(seconds(30));
    for (int i = 0; i < n; ++i)
      if (i != 1) CHECK(seen_by(net, i, 1).state == member_state::left);
  }
}

TEST_CASE("members: who leaves while its datagrams get nowhere has left all the same, for links carry it") {
  swim_net net(lan(6, 0, 7));
  for (int i = 0; i < 6; ++i)
    if (i != 1) {
      net.set_path(1, i, path::links_only);
      net.set_path(i, 1, path::links_only);
    }
  net.at(1).leave(net.now());
  net.run_for(milliseconds(600)); // as long as it goes on to tick
  net.kill(1);
  net.run_for(seconds(10));
  CHECK(everywhere(net, 1, member_state::left));
}

TEST_CASE("members: back from draining to active is a new incarnation, and wins everywhere") {
  swim_net net(lan(5, 0, 6));
  net.at(1).set_state(member_state::draining, net.now());
  net.run_for(milliseconds(200));
  CHECK(everywhere(net, 1, member_state::draining));
  net.at(1).set_state(member_state::active, net.now());
  net.run_for(milliseconds(200));
  CHECK(everywhere(net, 1, member_state::active));
  CHECK(seen_by(net, 0, 1).incarnation == 1);
}

TEST_CASE("members: the revoked is out, and what it says or others say of it is not heard") {
  swim_net net(lan(5, 0, 7));
  for (int i = 1; i < 5; ++i) net.at(i).revoke(net.id_of(0), net.now());
  CHECK(net.views_with(0) == 0);
  net.run_for(seconds(30));
  CHECK(net.views_with(0) == 0);
  CHECK(net.views_with(1) >= 3);
}

TEST_CASE("members: who was revoked before one ever heard of it is known as gone for good") {
  lone one;
  one.m.revoke(lone::id_of(7), one.time.now());
  const fact f{lone::id_of(7), {1, 0}, member_state::active, 9};
  one.m.merge({&f, 1}, one.time.now());
  REQUIRE(one.last->find(f.id) != nullptr);
  CHECK(one.last->find(f.id)->state == member_state::left);
  CHECK(one.log.empty()); // nobody asks for its body
}

TEST_CASE("members: a body is wanted when its version is not known, and asked for again") {
  lone one;
  const fact f{lone::id_of(7), {1, 0}, member_state::active, 9};
  one.m.merge({&f, 1}, one.time.now());
  CHECK(one.log == std::vector<std::string>{"body 7 9"});
  CHECK(one.last->find(f.id)->body.version == 0);
  one.time.advance(milliseconds(200));
  one.m.tick(one.time.now());
  CHECK(one.log.size() == 1);
  for (int i = 0; i < 10; ++i) {
    one.time.advance(milliseconds(100));
    one.m.tick(one.time.now());
  }
  CHECK(one.log.size() >= 2);
  one.told_of(f.id, {.version = 9, .name = "seven"});
  CHECK(one.last->find(f.id)->body.name == "seven");
  one.told_of(f.id, {.version = 8, .name = "old"});
  CHECK(one.last->find(f.id)->body.name == "seven");
  one.log.clear();
  for (int i = 0; i < 20; ++i) {
    one.time.advance(milliseconds(100));
    one.m.tick(one.time.now());
  }
  CHECK(one.log.empty()); // nobody's is missing
}

TEST_CASE("members: bodies that come together make one view, not one each") {
  lone one;
  std::vector<fact> facts;
  for (std::uint8_t i = 10; i < 110; ++i) facts.push_back({lone::id_of(i), {1, 0}, member_state::active, 9});
  one.m.merge(facts, one.time.now());
  const auto before = one.m.current();
  for (const fact& f : facts) one.m.body_known(f.id, {.version = 9, .name = "n"}, one.time.now());
  CHECK(one.m.current() == before);
  one.time.advance(bodies_gather);
  REQUIRE(one.m.next_deadline() <= one.time.now());
  one.m.tick(one.time.now());
  for (const fact& f : facts) CHECK(one.last->find(f.id)->body.name == "n");
}

TEST_CASE("members: the own body's version travels with the own fact") {
  lone one;
  CHECK(one.m.current()->me().body.name == "five");
  CHECK(one.m.current()->stamp.newest == 3);
  const auto before = one.m.current()->stamp;
  one.m.set_body({.version = 4, .name = "five", .capacity = 50}, one.time.now());
  CHECK(one.last->me().body.capacity == 50);
  CHECK(one.last->stamp.newest == 4);
  CHECK(one.last->stamp.hash != before.hash);
}

TEST_CASE("members: contacts are asked until one answers; a link's ping is answered over the link") {
  lone one;
  one.m.contact(lone::id_of(9), one.time.now());
  for (int i = 0; i < 25; ++i) {
    one.time.advance(milliseconds(100));
    one.m.tick(one.time.now());
  }
  CHECK(std::ranges::count_if(one.frames, [](const auto& f) { return f.second.type == frame_type::members_exchange; }) >= 3);
  CHECK_FALSE(one.m.joined());
  one.m.on_frame(lone::id_of(9), {frame_type::members_reply, 1, encode(members_list{one.time.wall(), {{lone::id_of(9), {1, 0}, member_state::active, 0}}})}, one.time.now());
  CHECK(one.m.joined());
  CHECK(one.last->members.size() == 2);
  one.frames.clear();
  one.m.on_frame(lone::id_of(9), {frame_type::link_ping, 1, "\x91\x07"}, one.time.now());
  REQUIRE(one.frames.size() == 1);
  CHECK(one.frames[0].second.type == frame_type::link_pong);
}

TEST_CASE("time: a reply that stood still in a stream is not stepped to; the next one is (consistency §5)") {
  lone one;
  one.m.set_state(member_state::joining, one.time.now());
  membership joiner{{.self = lone::id_of(6), .body = {.version = 3, .name = "six"}}, one, one, one, one.time, one.random, one.time.now()};
  const auto reply = [&](unix_ms when, std::uint64_t asked) {
    joiner.on_frame(lone::id_of(9), {frame_type::members_reply, 1, encode(members_list{when, {{lone::id_of(9), {1, 0}, member_state::active, 0}}, {}, asked})}, one.time.now());
  };
  const auto moment = [&] { return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(one.time.now().time_since_epoch()).count()) + 1; };
  const unix_ms before = one.time.wall();
  const std::uint64_t asked = moment();
  joiner.contact(lone::id_of(9), one.time.now());
  one.time.advance(seconds(74));
  reply(before, asked);
  CHECK(std::abs((joiner.time().time(one.time.now()) - one.time.wall())) < 100);
  CHECK_FALSE(joiner.joined()); // somebody serves whose time is not known
  reply(one.time.wall() + 5000, moment() - 2000);
  CHECK(joiner.joined());
  CHECK(std::abs(joiner.time().time(one.time.now()) - one.time.wall() - 5001) < 10);
}

TEST_CASE("time: a joiner steps to those that serve; a clock that is an hour wrong moves nobody (consistency §5)") {
  swim_net net(lan(4, 0, 8));
  const int late = net.start(0);
  net.set_clock_offset(late, seconds(3600));
  net.restart(late, 0);
  net.run_for(std::chrono::minutes(2));
  for (int i = 0; i < net.size(); ++i) {
    const auto off = net.at(i).time().time(net.now()) - net.at(0).time().time(net.now());
    CHECK(std::abs(off) <= 20);
  }
  CHECK(net.at(late).time().deviation() > cluster_clock::deviation_worth_telling);
  CHECK(net.at(0).time().deviation() < milliseconds(20));
}

TEST_CASE("members: a higher life of one's own id, with a body that is not one's own, is looked into before it is outbid (§7)") {
  struct watching final : lone {
    std::vector<std::uint64_t> contested;
    void on_contested(std::uint64_t version) override { contested.push_back(version); }
  } w;
  const auto mine = w.m.life();
  const fact twin{lone::id_of(5), {mine + 1000, 0}, member_state::joining, 9};
  const fact peer{lone::id_of(9), {1, 0}, member_state::active, 0};
  w.m.on_frame(lone::id_of(9), {frame_type::members_exchange, 1, encode(members_list{w.time.wall(), {peer, twin}})}, w.time.now());
  CHECK(w.contested == std::vector<std::uint64_t>{9});
  CHECK(w.m.life() == mine);
  SUBCASE("this process stays: it takes the next life, and that is no removal to be damped for") {
    for (int i = 0; i < 5; ++i) {
      w.m.contest_over(w.time.now());
      CHECK(w.m.state() == member_state::active);
      const fact again{lone::id_of(5), {w.m.life() + 1000, 0}, member_state::joining, 9};
      w.m.on_frame(lone::id_of(9), {frame_type::members_exchange, 1, encode(members_list{w.time.wall(), {peer, again}})}, w.time.now());
    }
    w.m.contest_over(w.time.now());
    CHECK(w.m.life() > mine + 6000);
  }
  SUBCASE("nobody tells: the next life is taken after a while") {
    for (int i = 0; i < 60 && w.m.life() == mine; ++i) {
      w.time.advance(milliseconds(100));
      w.m.tick(w.time.now());
    }
    CHECK(w.m.life() == mine + 1001);
    CHECK(w.contested.size() >= 2); // asked again meanwhile
  }
}

TEST_CASE("members: a higher life with one's own body is a claim by others, and is outbid at once") {
  lone one;
  const auto mine = one.m.life();
  const fact peer{lone::id_of(9), {1, 0}, member_state::active, 0};
  one.m.on_frame(lone::id_of(9), {frame_type::members_exchange, 1, encode(members_list{one.time.wall(), {peer, {lone::id_of(5), {mine + 7, 0}, member_state::active, 3}}})}, one.time.now());
  CHECK(one.m.life() == mine + 8);
}

TEST_CASE("time: a joiner does not step to another joiner, whose clock may be an hour wrong (consistency §5)") {
  struct joiner : lone {
    membership j{{.self = id_of(6), .body = {.version = 3}}, *this, *this, *this, time, random, time.now()};
  } w;
  const auto reply = [&](std::uint8_t from, member_state s, milliseconds ahead) {
    const members_list l{w.time.wall() + ahead.count(), {{lone::id_of(8), {1, 0}, member_state::joining, 0}, {lone::id_of(from), {1, 0}, s, 0}}};
    w.j.on_frame(lone::id_of(from), {frame_type::members_reply, 1, encode(l)}, w.time.now());
  };
  const auto ahead = [&] { return w.j.time().time(w.time.now()) - w.time.wall(); };
  w.j.contact(lone::id_of(8), w.time.now());
  reply(8, member_state::joining, seconds(3600));
  CHECK(ahead() == 0);
  CHECK(w.j.joined()); // nobody serves: there is no other time
  const fact serving{lone::id_of(9), {1, 0}, member_state::active, 0};
  w.j.merge({&serving, 1}, w.time.now());
  CHECK_FALSE(w.j.joined());
  w.frames.clear();
  for (int i = 0; i < 20; ++i) {
    w.time.advance(milliseconds(100));
    w.j.tick(w.time.now());
  }
  CHECK(std::ranges::any_of(w.frames, [](const auto& f) { return f.first == lone::id_of(9) && f.second.type == frame_type::members_exchange; }));
  reply(9, member_state::active, seconds(-5));
  CHECK(w.j.joined());
  CHECK(std::abs(ahead() + 5000) <= 2000); // half of what the answer took on top
  reply(9, member_state::active, seconds(-50)); // once: nobody else steps
  CHECK(std::abs(ahead() + 5000) <= 2000);
}

TEST_CASE("time: who begins where nobody serves takes the median of the clocks that heartbeats told it of (decision 33)") {
  lone one;
  membership m{{.self = lone::id_of(4), .body = {.version = 3, .name = "four"}}, one, one, one, one.time, one.random, one.time.now()};
  const auto off = [&] { return m.time().time(one.time.now()) - one.time.wall(); };
  const auto said = [&](std::uint8_t from, milliseconds ahead) {
    swim_message beat;
    beat.echo = true;
    beat.sender = {.id = {}, .self = {1, 0}, .state = member_state::joining, .version = 0};
    beat.clock = one.time.wall() + ahead.count();
    m.receive(lone::id_of(from), encode(beat), one.time.now());
  };
  said(6, seconds(-8799)), said(7, seconds(-8798));
  CHECK(off() == 0); // what they say moves nobody by itself
  m.set_state(member_state::active, one.time.now());
  CHECK(off() == -8'798'000);
  said(8, seconds(-8799)), said(9, seconds(-8799)); // once: who serves does not step
  m.set_state(member_state::draining, one.time.now());
  CHECK(off() == -8'798'000);
}
