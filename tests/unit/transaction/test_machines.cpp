// What holds for all four machines whatever comes in, and for two layers with a bad network between them.
#include "base/rng.hpp"
#include "script.hpp"
#include "sip/transaction/invite_client.hpp"
#include "sip/transaction/invite_server.hpp"
#include "sip/transaction/non_invite_client.hpp"
#include "sip/transaction/non_invite_server.hpp"

#include <algorithm>

using namespace skald;
using namespace skald::sip;
using namespace skald::sip::test;

namespace {

// Random inputs, the last enumerator included; returns how often the machine said that it ended.
template <class Machine> int shake(Machine machine, rng& random, typename Machine::input last) {
  int ended = 0;
  for (int i = 0; i < 200; ++i) {
    const auto effects =
        machine.on(static_cast<typename Machine::input>(random.below(static_cast<std::uint64_t>(last) + 1)));
    if (effects.ended) {
      ++ended;
      CHECK(machine.current() == Machine::state::terminated);
      CHECK_FALSE(effects.timers.end.has_value());
      CHECK_FALSE(effects.timers.repeat.has_value());
    }
  }
  return ended;
}

// One request from one layer to another over a network that loses, doubles and delays.
struct lossy_pair {
  explicit lossy_pair(std::uint64_t seed) : random(seed) {}

  void carry(script& from, script& to) {
    for (const sent_item& item : std::exchange(from.sent, {}))
      for (int copies = random.chance(0.2) ? 2 : 1; copies > 0; --copies)
        if (!random.chance(loss))
          under_way.emplace(client.clk.now() + milliseconds(1 + random.below(300)), std::pair{&to, item.bytes});
  }
  // Both layers have clocks of their own, moved together.
  void run(duration d) {
    for (const mono_time until = client.clk.now() + d; client.clk.now() < until;) {
      client.pass(milliseconds(1));
      server.pass(milliseconds(1));
      carry(client, server);
      carry(server, client);
      while (!under_way.empty() && under_way.begin()->first <= client.clk.now()) {
        const auto [to, bytes] = under_way.begin()->second;
        under_way.erase(under_way.begin());
        to->receive(bytes);
      }
      answer();
    }
  }
  void answer() {
    for (const std::string& what : server.take()) {
      all.push_back(what);
      if (what == "request INVITE") server.layer.respond(server.server, response(100, "INVITE"));
      if (what == "request INVITE") server.layer.respond(server.server, response(486, "INVITE"));
      if (what == "request MESSAGE") server.layer.respond(server.server, response(200, "MESSAGE"));
    }
  }

  seeded_rng random;
  double loss = 0.25;
  script client, server;
  std::multimap<mono_time, std::pair<script*, std::string>> under_way;
  lines all;
};

} // namespace

TEST_CASE("machines: whatever comes in, each ends at most once, and then sets no timer") {
  seeded_rng random(3);
  for (int round = 0; round < 500; ++round)
    for (const reliability r : {reliability::unreliable, reliability::reliable}) {
      const timer_values v;
      CHECK(shake(invite_client(v, r), random, invite_client::input::transport_error) <= 1);
      CHECK(shake(non_invite_client(v, r), random, non_invite_client::input::transport_error) <= 1);
      CHECK(shake(invite_server(v, r), random, invite_server::input::transport_error) <= 1);
      CHECK(shake(non_invite_server(v, r), random, non_invite_server::input::transport_error) <= 1);
    }
}

TEST_CASE("machines: in Accepted neither side ever sends by itself (RFC 6026)") {
  const timer_values v;
  invite_client client(v, reliability::unreliable);
  client.on(invite_client::input::start);
  CHECK(client.on(invite_client::input::success).deliver);
  CHECK(client.current() == invite_client::state::accepted);
  for (auto i = invite_client::input::start; i != invite_client::input::timer_m;
       i = static_cast<invite_client::input>(static_cast<int>(i) + 1)) {
    const auto e = client.on(i);
    CHECK_FALSE(e.send_ack);
    CHECK_FALSE(e.send_request);
  }
  invite_server server(v, reliability::unreliable);
  server.on(invite_server::input::respond_success);
  CHECK(server.current() == invite_server::state::accepted);
  CHECK_FALSE(server.on(invite_server::input::request).send_response);
  CHECK(server.on(invite_server::input::ack).deliver_ack);
}

TEST_CASE("two layers, a quarter of all datagrams lost: one request, one answer, nothing left behind") {
  int answered = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    lossy_pair net(seed);
    const std::string method = seed % 2 ? "INVITE" : "MESSAGE";
    const std::string final_one = seed % 2 ? "response 486" : "response 200";
    net.client.layer.send_request(request(method), net.client.way);
    net.run(seconds(75));
    const auto count = [](const lines& in, const std::string& what) { return std::ranges::count(in, what); };
    CHECK(count(net.all, "request " + method) == 1);
    CHECK(count(net.client.seen, final_one) + count(net.client.seen, "timed out") == 1);
    CHECK(count(net.client.seen, "client ended") == 1);
    CHECK(count(net.all, "ack") == 0);
    answered += count(net.client.seen, final_one) == 1;
    CHECK(net.client.layer.size() == 0);
    CHECK(net.server.layer.size() == 0);
    CHECK(net.client.timers.size() + net.server.timers.size() == 0);
  }
  CHECK(answered >= 39);
}
