#pragma once
// A transaction layer in virtual time, with a wire and a user that write down what they see. Tests are scripts: inject
// from the wire, from the user, let time pass, read what happened.
#include "base/clock.hpp"
#include "base/scheduler.hpp"
#include "sip/transaction/layer.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

namespace skald::sip::test {

inline endpoint at(std::string_view text) {
  return *endpoint::parse(text);
}

inline flow flow_over(transport t, std::string_view remote = "192.0.2.9:5060") {
  return {.transport = t,
          .worker = 1,
          .serial = is_stream(t) ? 7u : 0u,
          .local = at("192.0.2.1:5060"),
          .remote = at(remote)};
}

struct sent_item {
  mono_time when;
  flow where;
  std::string bytes;
  std::string start_line() const { return bytes.substr(0, bytes.find("\r\n")); }
};

class script final : public message_sender, public transaction_user {
public:
  explicit script(transport t = transport::udp, timer_values values = {})
      : way(flow_over(t)), layer(clk, timers, *this, *this, values) {}

  // ---- the wire
  bool send(const flow& where, std::string_view bytes) override {
    if (broken) return false;
    sent.push_back({clk.now(), where, std::string(bytes)});
    return true;
  }
  void receive(const std::string& text) { receive(text, way); }
  void receive(const std::string& text, const flow& by) {
    auto m = message::parse(text);
    REQUIRE(m.has_value());
    layer.receive(*m, {.flow = by, .at = clk.now()});
  }

  // ---- time: timers run in order, each at its own deadline
  void pass(duration d) {
    const mono_time until = clk.now() + d;
    while (const auto next = timers.next_deadline()) {
      if (*next > until) break;
      if (*next > clk.now()) clk.advance(*next - clk.now());
      timers.run_due(clk.now());
    }
    if (until > clk.now()) clk.advance(until - clk.now());
  }
  // When each message left, in ms since `from`.
  std::vector<long> sent_after(mono_time from) const {
    std::vector<long> out;
    for (const auto& s : sent)
      out.push_back(static_cast<long>(std::chrono::duration_cast<milliseconds>(s.when - from).count()));
    return out;
  }

  // ---- the user
  void on_request(server_id id, message request, const arrival&) override {
    note("request " + std::string(request.method_name()));
    server = id;
  }
  void on_cancel(server_id cancel, server_id invite, message, const arrival&) override {
    note(invite == server_id::none ? "cancel of nothing" : "cancel");
    cancel_server = cancel;
    cancelled_invite = invite;
  }
  void on_ack(message, const arrival&) override { note("ack"); }
  void on_response(client_id id, message response, const arrival&) override {
    note("response " + std::to_string(response.status()));
    if (on_response_hook) on_response_hook(id, response.status());
  }
  void on_failure(client_id, client_failure why) override {
    note(why == client_failure::timed_out ? "timed out" : "flow gone");
  }
  void on_stray_response(message response, const arrival&) override {
    note("stray " + std::to_string(response.status()));
  }
  void on_server_ended(server_id, bool acknowledged) override {
    note(acknowledged ? "server ended" : "server ended without ack");
  }
  void on_client_ended(client_id) override { note("client ended"); }

  void note(std::string what) { seen.push_back(std::move(what)); }
  // What the user saw since the last call.
  std::vector<std::string> take() { return std::exchange(seen, {}); }
  std::vector<std::string> take_sent() {
    std::vector<std::string> out;
    for (const auto& s : std::exchange(sent, {}))
      out.push_back(s.start_line());
    return out;
  }

  manual_clock clk;
  scheduler timers;
  flow way;
  bool broken = false;
  std::vector<sent_item> sent;
  std::vector<std::string> seen;
  server_id server{}, cancel_server{}, cancelled_invite{};
  std::function<void(client_id, int)> on_response_hook;
  transaction_layer layer;
};

using lines = std::vector<std::string>;

inline std::string request_text(std::string_view method, std::string_view branch = "z9hG4bKabc",
                                std::string_view to_tag = {}, std::string_view extra = {},
                                std::string_view cseq_number = "1", std::string_view sent_by = "192.0.2.9:5060") {
  std::string m(method);
  std::string out = m + " sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP " + std::string(sent_by);
  if (!branch.empty()) out += ";branch=" + std::string(branch);
  out += "\r\nMax-Forwards: 69\r\nFrom: Alice <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>";
  if (!to_tag.empty()) out += ";tag=" + std::string(to_tag);
  out += "\r\nCall-ID: call-1@pc\r\nCSeq: " + std::string(cseq_number) + " " + m + "\r\n" + std::string(extra) +
         "Content-Length: 0\r\n\r\n";
  return out;
}

inline message request(std::string_view method, std::string_view branch = "z9hG4bKabc", std::string_view to_tag = {},
                       std::string_view extra = {}) {
  auto m = message::parse(request_text(method, branch, to_tag, extra));
  REQUIRE(m.has_value());
  return *m;
}

inline std::string response_text(int status, std::string_view method, std::string_view branch = "z9hG4bKabc",
                                 std::string_view to_tag = "b1") {
  return "SIP/2.0 " + std::to_string(status) +
         " Some Reason\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=" + std::string(branch) +
         "\r\nFrom: Alice <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>;tag=" + std::string(to_tag) +
         "\r\nCall-ID: call-1@pc\r\nCSeq: 1 " + std::string(method) + "\r\nContent-Length: 0\r\n\r\n";
}

inline message response(int status, std::string_view method, std::string_view branch = "z9hG4bKabc",
                        std::string_view to_tag = "b1") {
  auto m = message::parse(response_text(status, method, branch, to_tag));
  REQUIRE(m.has_value());
  return *m;
}

} // namespace skald::sip::test
