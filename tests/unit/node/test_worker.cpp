#include "node/io/net_interfaces.hpp"
#include "tests/unit/node/worker_fixture.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <set>
#include <sys/eventfd.h>

using namespace skald;
using namespace skald::node;
using namespace skald::node::testing;

TEST_CASE("udp: an OPTIONS is received, stamped and answered to the packet's source") {
  workers w(1);
  REQUIRE(w.bound);
  w.start();
  peer_socket phone(SOCK_DGRAM, w.sip());
  phone.send(request("OPTIONS", "z9hG4bKa"));
  const std::string answer = phone.receive();
  CHECK(answer.starts_with("SIP/2.0 200 OK\r\n"));
  CHECK(answer.find(";received=127.0.0.1") != std::string::npos);
  CHECK(answer.find(";rport=" + std::to_string(phone.local().port)) != std::string::npos);
  const auto seen = w.users[0]->wait_messages(1);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].from.flow.remote == phone.local());
  CHECK(seen[0].from.flow.local == w.sip());
}

TEST_CASE("udp: IPv6 works as IPv4 does") {
  workers w(1, "::1");
  if (!w.bound) return; // a machine without IPv6
  w.start();
  peer_socket phone(SOCK_DGRAM, w.sip());
  phone.send(request("OPTIONS", "z9hG4bKsix"));
  CHECK(phone.receive().find(";received=::1") != std::string::npos);
}

TEST_CASE("udp: keep-alives are no errors, and STUN is answered with the mapped address") {
  workers w(1);
  w.start();
  peer_socket phone(SOCK_DGRAM, w.sip());
  phone.send("\r\n\r\n");
  phone.send(std::string_view("\0\0\0\0", 4));
  phone.send("");
  const std::string id = "abcdefghijkl";
  phone.send(std::string("\x00\x01\x00\x00\x21\x12\xa4\x42", 8) + id);
  const std::string answer = phone.receive();
  REQUIRE(answer.size() == 32);
  CHECK(answer.substr(0, 2) == std::string("\x01\x01", 2));
  CHECK(answer.substr(8, 12) == id);
  const auto port = static_cast<std::uint16_t>(get_be<std::uint16_t>(std::string_view(answer).substr(26)) ^ 0x2112);
  CHECK(port == phone.local().port);
  phone.send(request("OPTIONS", "z9hG4bKb"));
  CHECK(phone.receive().starts_with("SIP/2.0 200"));
  CHECK(w.users[0]->wait_messages(1).size() == 1);
}

TEST_CASE("udp: a retransmission from any port reaches the worker that had the request (sip.md §5)") {
  workers w(4);
  w.start();
  std::vector<std::unique_ptr<peer_socket>> phones;
  for (int i = 0; i < 32; ++i) {
    auto& p = phones.emplace_back(std::make_unique<peer_socket>(SOCK_DGRAM, w.sip()));
    p->send(request(i % 3 == 1 ? "CANCEL" : "INVITE", "z9hG4bKsame"));
    CHECK(p->receive().starts_with("SIP/2.0 200"));
  }
  std::size_t workers_used = 0, messages = 0;
  for (auto& u : w.users) {
    const std::size_t n = u->wait_messages(0).size();
    workers_used += n > 0 ? 1 : 0;
    messages += n;
  }
  CHECK(workers_used == 1);
  CHECK(messages == 32);
  CHECK(w.group.index.size() == 1);
}

TEST_CASE("worker index: ACK and CANCEL claim nothing, REGISTER and OPTIONS are none of its business, entries end") {
  worker_index index(7);
  const auto parsed = [](const char* method, const char* branch) { return *sip::message::parse(request(method, branch)); };
  const mono_time t{seconds(1000)};
  CHECK(index.owner(parsed("ACK", "z9hG4bK1"), 2, t) == 2);
  CHECK(index.owner(parsed("CANCEL", "z9hG4bK1"), 3, t) == 3);
  CHECK(index.size() == 0);
  CHECK_FALSE(index.owner(parsed("REGISTER", "z9hG4bK1"), 1, t).has_value());
  CHECK_FALSE(index.owner(parsed("OPTIONS", "z9hG4bK1"), 1, t).has_value());
  CHECK(index.owner(parsed("INFO", "z9hG4bK1"), 1, t) == 1);
  CHECK(index.owner(parsed("INFO", "z9hG4bK1"), 0, t + seconds(30)) == 1);
  CHECK(index.owner(parsed("INFO", "z9hG4bK1"), 0, t + index_other_life) == 0);
}

TEST_CASE("loop: a socket that is always ready keeps neither timers nor the end of the turn waiting") {
  const system_clock time;
  loop l(time);
  const owned_fd ready(::eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
  fd_watch watch(l, ready.get());
  bool timer = false;
  std::size_t reads = 0;
  std::function<void()> arm = [&] {
    watch.when_readable([&] {
      if (++reads > 5'000'000) return l.stop(); // never came to the timer
      arm();
    });
  };
  struct counting_hook final : turn_hook {
    int turns = 0;
    void on_turn_end() override { ++turns; }
  } hook;
  arm();
  l.defer(hook);
  l.timers().at(l.now() + milliseconds(20), [&] {
    timer = true;
    l.stop();
  });
  l.run();
  CHECK(timer);
  CHECK(hook.turns == 1);
}

TEST_CASE("bind: a port that is taken is an error that names it and who has it") {
  workers first(1);
  REQUIRE(first.bound);
  system_clock time;
  worker_group group(time, 1);
  worker second({.addresses = first.all[0]->config().addresses, .sip_port = first.sip().port, .sips = false}, group);
  const auto r = second.bind();
  REQUIRE_FALSE(r.has_value());
  CHECK(r.error().what.find(first.sip().text()) != std::string::npos);
  CHECK(r.error().what.find("(pid " + std::to_string(::getpid()) + ")") != std::string::npos);
}

TEST_CASE("tcp: messages are cut out of the stream however it is segmented, and a double CRLF is answered") {
  workers w(2);
  w.start();
  peer_socket phone(SOCK_STREAM, w.sip());
  REQUIRE(phone.connected);
  const std::string one = request("OPTIONS", "z9hG4bKt1", "TCP"), two = request("MESSAGE", "z9hG4bKt2", "TCP");
  const std::string both = "\r\n\r\n" + one + two;
  CHECK(phone.connected);
  for (std::size_t i = 0; i < both.size(); i += 37) phone.send(std::string_view(both).substr(i, 37));
  const std::string answers = phone.receive_until("branch=z9hG4bKt2");
  CHECK(answers.starts_with("\r\nSIP/2.0 200 OK"));
  CHECK(answers.find("branch=z9hG4bKt1") != std::string::npos);
  CHECK(answers.find(";received=127.0.0.1") != std::string::npos);
}

TEST_CASE("tcp: a reset connection is reported as a flow that is gone, and refuses what is sent on it") {
  workers w(1);
  w.start();
  peer_socket phone(SOCK_STREAM, w.sip());
  phone.send(request("OPTIONS", "z9hG4bKr", "TCP"));
  phone.receive_until("z9hG4bKr");
  const sip::flow f = w.users[0]->wait_messages(1).at(0).from.flow;
  CHECK(w.on(0, [&](worker& x) { return x.alive(f) && x.facts(f).has_value(); }));
  phone.reset();
  const auto gone = w.users[0]->wait_gone(1);
  REQUIRE(gone.size() == 1);
  CHECK(gone[0] == f);
  CHECK_FALSE(w.on(0, [&](worker& x) { return x.alive(f) || x.send(f, "x"); }));
}

TEST_CASE("tcp: one source has so many connections, fewer of them silent, and others do not feel it") {
  workers w(1);
  w.group.streams.limits = {.all = 5, .source = 3, .silent = 2};
  bool full = false;
  w.group.streams.memory_full = [&] { return full; };
  w.start();
  std::vector<std::unique_ptr<peer_socket>> phones;
  const auto call = [&](const char* from) -> peer_socket& { return *phones.emplace_back(std::make_unique<peer_socket>(SOCK_STREAM, w.sip(), from)); };
  const auto speaks = [&](peer_socket& p) {
    const std::string branch = "z9hG4bKs" + std::to_string(p.local().port);
    p.send(request("OPTIONS", branch, "TCP"));
    return !p.receive_until(branch).empty();
  };
  peer_socket &first = call("127.0.0.41"), &second = call("127.0.0.41");
  CHECK(call("127.0.0.41").receive().empty()); // a third that says nothing: closed
  REQUIRE(speaks(first));
  peer_socket& third = call("127.0.0.41");
  CHECK(speaks(third));
  CHECK(speaks(second));
  CHECK_FALSE(speaks(call("127.0.0.41"))); // the fourth that speaks
  CHECK(speaks(call("127.0.0.42")));
  first.reset(); // makes room
  REQUIRE(w.users[0]->wait_gone(1).size() == 1);
  CHECK(speaks(call("127.0.0.41")));
  CHECK(speaks(call("127.0.0.43")));
  CHECK_FALSE(speaks(call("127.0.0.44"))); // the worker has five
  second.reset();
  REQUIRE(w.users[0]->wait_gone(2).size() == 2);
  w.on(0, [&](worker&) { return full = true; });
  CHECK_FALSE(speaks(call("127.0.0.44")));
  w.on(0, [&](worker&) { return full = false; });
  CHECK(speaks(call("127.0.0.44")));
}

TEST_CASE("a flow of another worker is served through that worker's queue") {
  workers w(2);
  w.start();
  peer_socket phone(SOCK_STREAM, w.sip());
  phone.send(request("OPTIONS", "z9hG4bKx", "TCP"));
  phone.receive_until("z9hG4bKx");
  const bool on_first = !w.users[0]->wait_messages(0).empty();
  const sip::flow f = w.users[on_first ? 0 : 1]->wait_messages(1).at(0).from.flow;
  CHECK(w.on(on_first ? 1 : 0, [&](worker& x) { return x.send(f, "NOTIFY through the other worker"); }));
  CHECK(phone.receive_until("other worker") == "NOTIFY through the other worker");
  phone.reset();
  CHECK(w.users[on_first ? 0 : 1]->wait_gone(1).size() == 1);
  const auto told = w.users[on_first ? 1 : 0]->wait_gone(1); // its transactions wait for answers on that flow
  REQUIRE(told.size() == 1);
  CHECK(told[0] == f);
}

TEST_CASE("a flow that breaks while another worker's message is on its way to it is told to that worker") {
  workers w(2);
  w.start();
  peer_socket phone(SOCK_STREAM, w.sip());
  phone.send(request("OPTIONS", "z9hG4bKx", "TCP"));
  phone.receive_until("z9hG4bKx");
  const std::size_t holder = w.users[0]->wait_messages(0).empty() ? 1 : 0;
  const sip::flow f = w.users[holder]->wait_messages(1).at(0).from.flow;
  std::promise<void> held, go;
  w.all[holder]->events().post([&] {
    held.set_value();
    go.get_future().wait();
  });
  held.get_future().wait();
  phone.reset();
  CHECK(w.on(1 - holder, [&](worker& x) { return x.send(f, "too late"); })); // nobody knows yet
  go.set_value();
  CHECK(w.users[1 - holder]->wait_gone(1).size() >= 1);
}

TEST_CASE("tcp: a flow is opened once per target, and an unreachable one is told") {
  workers server(1, "127.0.0.2"), client(1, "127.0.0.3");
  server.start();
  client.start();
  const sip::target to{sip::transport::tcp, server.sip(), ""};
  const auto first = client.open(0, to), again = client.open(0, to);
  REQUIRE(first.has_value());
  CHECK(first == again);
  CHECK(first->local.ip.text() == "127.0.0.3");
  CHECK(client.on(0, [&](worker& x) { return x.send(*first, request("OPTIONS", "z9hG4bKo", "TCP")); }));
  const auto back = client.users[0]->wait_messages(1);
  REQUIRE(back.size() == 1);
  CHECK(back[0].status == 200);
  CHECK(back[0].from.flow == *first);
  CHECK_FALSE(client.open(0, {sip::transport::tcp, {server.sip().ip, 1}, ""}).has_value());
}

TEST_CASE("default addresses: those of the default routes, or an error that names --address") {
  const auto found = default_addresses();
  if (!found) {
    CHECK(found.error().hint.find("--address") != std::string::npos);
    return;
  }
  REQUIRE_FALSE(found->empty());
  for (const ip_address& a : *found) CHECK_FALSE((a.is_any() || a.is_loopback()));
}
