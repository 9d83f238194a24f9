#include "tests/chaos/requests.hpp"

#include "sip/message/name_addr.hpp"
#include "sip/message/via.hpp"

#include <fmt/format.h>

namespace chaos {

namespace {

constexpr milliseconds t1{500}, t2{4000};
constexpr std::size_t examples_max = 50;

void note(std::vector<std::string>& into, std::string line) {
  if (into.size() < examples_max) into.push_back(std::move(line));
  else into.emplace_back(); // counted; the first ones tell enough
}

} // namespace

std::string tag_of(const sip::message& m, sip::header h) {
  const auto line = m.line(h);
  const auto parsed = line ? sip::parse_name_addr(*line) : std::unexpected(skald::errc::missing);
  return parsed ? std::string(parsed->tag()) : std::string();
}

std::string requests::text(const request& r, const std::string& via) {
  std::string out = fmt::format("{} {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {}\r\n",
                                r.method, r.uri, via, r.from, r.to, r.call_id, r.cseq, r.method);
  for (const std::string& route : r.routes) out += "Route: " + route + "\r\n";
  out += r.more;
  if (!r.body.empty()) out += "Content-Type: application/sdp\r\n";
  return out + fmt::format("Content-Length: {}\r\n\r\n", r.body.size()) + r.body;
}

std::string requests::send(sender& from, edge& through, const request& what, done on_done, late on_late) {
  const std::string branch = "z9hG4bK" + unique();
  entry& e = entries_[branch];
  e.from = &from;
  e.through = &through;
  e.falls = through.falls_now();
  e.method = what.method;
  e.what = what;
  e.on_done = std::move(on_done);
  e.on_late = std::move(on_late);
  e.bytes = text(what, fmt::format("SIP/2.0/UDP {};rport;branch={}", from.host_port(), branch));
  e.wait = t1;
  e.began = events_.now();
  ++under_way_;
  ++counts_.sent;
  from.send(e.bytes, through.address);
  events_.after(e.wait, [this, branch] { repeat(branch); });
  return branch;
}

// Timers A, B, E and F (RFC 3261 §17.1.1.2, §17.1.2.2)
void requests::repeat(const std::string& branch) {
  const auto it = entries_.find(branch);
  if (it == entries_.end() || it->second.over) return;
  entry& e = it->second;
  const duration passed = events_.now() - e.began;
  // An INVITE that rings may ring for long; ours are answered within a second.
  if (passed >= 64 * t1) return conclude(branch, e, {0, nullptr});
  if (!(e.method == "INVITE" && e.provisional)) {
    ++counts_.repeated;
    e.from->send(e.bytes, e.through->address);
  }
  e.wait = e.method == "INVITE" ? e.wait * 2 : e.provisional ? duration(t2) : std::min<duration>(e.wait * 2, t2);
  events_.after(std::min(e.wait, duration(64 * t1) - passed), [this, branch] { repeat(branch); });
}

void requests::conclude(const std::string& branch, entry& e, const outcome& how) {
  e.over = true;
  --under_way_;
  if (how.status == -1 || (how.status == 0 && !e.through->lived(e.falls))) ++counts_.edge_fell;
  else if (how.status == 0) note(counts_.unanswered, fmt::format("{} of {} through {}", e.method, e.what.from, e.through->name));
  else ++counts_.answered;
  events_.after(64 * t1, [this, branch] { entries_.erase(branch); });
  e.bytes = {};
  e.what.more = {};
  const done on_done = std::move(e.on_done);
  on_done(how);
}

void requests::on_response(const sip::message& m) {
  const auto top = m.first(sip::header::via);
  const auto via = top ? sip::parse_via(*top) : std::unexpected(skald::errc::missing);
  const auto branch = via ? via->param("branch") : std::nullopt;
  const auto it = branch ? entries_.find(std::string(*branch)) : entries_.end();
  if (it == entries_.end() || it->second.method != m.method_name()) return;
  entry& e = it->second;
  if (m.status() < 200) {
    e.provisional = true;
    return;
  }
  if (e.method == "INVITE" && m.status() >= 300) acknowledge_failure(it->first, e, m);
  if (!e.over) {
    e.status = m.status();
    e.to_tag = tag_of(m, sip::header::to);
    const std::string key = it->first;
    return conclude(key, e, {m.status(), &m});
  }
  if (e.status == 0) return; // came after it was given up
  if (!e.through->lived(e.falls) && m.status() >= 300) return; // by the edge that was started again: it knows of no other answer
  if (e.status == 401 || e.status == 407) return; // a challenge keeps no state, so its request sent again is a new one (RFC 3261 §26.3.2.4)
  const bool another = e.status != m.status() || e.to_tag != tag_of(m, sip::header::to);
  if (another && !std::exchange(e.told_twice, true) && !(e.on_late && m.status() < 300 && e.on_late(m)))
    note(counts_.twice, fmt::format("{} of {} through {}: {}, then {}", e.method, e.what.from, e.through->name, e.status, m.status()));
  if (!another && !e.ack.empty()) e.from->send(e.ack, e.through->address);
}

// RFC 3261 §17.1.1.3
void requests::acknowledge_failure(const std::string& branch, entry& e, const sip::message& m) {
  request ack{.method = "ACK", .uri = e.what.uri, .from = e.what.from, .to = std::string(m.line(sip::header::to).value_or("")),
              .call_id = e.what.call_id, .cseq = e.what.cseq, .routes = e.what.routes};
  e.from->send(text(ack, fmt::format("SIP/2.0/UDP {};rport;branch={}", e.from->host_port(), branch)), e.through->address);
}

void requests::acknowledge(const std::string& branch, const request& ack) {
  const auto it = entries_.find(branch);
  if (it == entries_.end()) return;
  entry& e = it->second;
  e.ack = text(ack, fmt::format("SIP/2.0/UDP {};rport;branch=z9hG4bK{}", e.from->host_port(), unique()));
  e.from->send(e.ack, e.through->address);
}

void requests::down(const edge& which) {
  std::vector<std::string> lost;
  for (const auto& [branch, e] : entries_)
    if (!e.over && e.through == &which) lost.push_back(branch);
  for (const std::string& branch : lost)
    if (const auto it = entries_.find(branch); it != entries_.end() && !it->second.over) conclude(branch, it->second, {-1, nullptr});
}

} // namespace chaos
