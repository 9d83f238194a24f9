// Calls. One that was set up and whose two edges live on must take INFO and BYE; one that fails between living edges is
// tried again, and the time until it succeeds is a gap in service.
#include "tests/chaos/load.hpp"

#include "sip/message/name_addr.hpp"

namespace chaos {

struct call {
  phone* caller = nullptr;
  phone* callee = nullptr;
  std::string id, from, to, target; // target: the callee's Contact
  std::vector<std::string> routes;
  unsigned cseq = 0;
  int challenges = 0;
  std::size_t refusals = 0; // 503s: each time the next edge is tried (RFC 3263 §4.3)
  std::size_t near_edge = 0, far_edge = 0; // the caller's, and the callee's once it has rung
  unsigned near_falls = 0, far_falls = 0;
  mono_time began{};
  bool info_sent = false;
  std::string story;        // its tries
  bool behind_dead = false; // an edge was dead in one of the tries
};

namespace {

constexpr int challenges_max = 4;
constexpr milliseconds retry_after{200};
constexpr std::chrono::seconds give_up_after{40};
constexpr std::string_view sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

// The caller's end of the dialog (RFC 3261 §12.1.2)
void take_answer(call& c, const sip::message& ok) {
  c.to = ok.line(sip::header::to).value_or("");
  const auto peer = sip::parse_name_addr(ok.line(sip::header::contact).value_or(""));
  if (peer) c.target = peer->uri_text;
  c.routes.clear();
  for (const std::string_view r : ok.values(sip::header::record_route)) c.routes.insert(c.routes.begin(), std::string(r));
}

} // namespace

calls::calls(world& w) : world_(w) {
  w.on_acknowledged = [this](phone& p, const std::shared_ptr<incoming>& in) { callee_ready(p, in); };
}

void calls::run() {
  running_ = world_.wanted.calls > 0;
  due_ = world_.events.now();
  tick();
}

void calls::tick() {
  if (!running_) return;
  const duration gap(static_cast<std::int64_t>(1e6 / world_.wanted.calls));
  for (; due_ <= world_.events.now(); due_ += gap) start();
  world_.events.after(std::min<duration>(gap, milliseconds(20)), [this] { tick(); });
}

void calls::start() {
  const auto c = std::make_shared<call>();
  for (int tries = 0; tries < 50 && c->callee == nullptr; ++tries) {
    phone* const p = world_.phones[world_.random.below(world_.phones.size())].get();
    if (p->acked == 0 || p == c->caller) continue;
    (c->caller == nullptr ? c->caller : c->callee) = p;
  }
  if (c->callee == nullptr) return;
  c->began = world_.events.now();
  attempt(c);
}

void calls::attempt(const std::shared_ptr<call>& c) {
  c->near_edge = (c->caller->at + c->refusals) % world_.edges.size();
  c->far_edge = c->callee->bound_at;
  c->story += fmt::format(" | {} ms: {} to {}", (world_.events.now() - c->began) / milliseconds(1), world_.edges[c->near_edge].name, world_.edges[c->far_edge].name);
  if (!world_.edges[c->near_edge].up) { // its phone looks for another edge
    c->behind_dead = true;
    return again(c);
  }
  c->near_falls = world_.edges[c->near_edge].falls_now();
  c->far_falls = world_.edges[c->far_edge].falls_now();
  c->id = "c" + world_.out.unique();
  c->from = fmt::format("<{}>;tag={}", c->caller->aor(), world_.out.unique());
  c->cseq = 0;
  c->challenges = 0;
  by_id_[c->id] = c;
  invite(c, false);
}

void calls::invite(const std::shared_ptr<call>& c, bool with_credentials) {
  request r{.method = "INVITE", .uri = c->callee->aor(), .from = c->from, .to = fmt::format("<{}>", c->callee->aor()),
            .call_id = c->id, .cseq = ++c->cseq};
  r.more = "Contact: " + c->caller->contact() + "\r\n";
  if (with_credentials) r.more += c->caller->credentials("Proxy-Authorization", "INVITE", r.uri);
  r.body = sdp;
  // The branch is known to the answer's handler only after send() has given it.
  const auto branch = std::make_shared<std::string>();
  *branch = world_.out.send(*c->caller, world_.edges[c->near_edge], r,
                            [this, c, branch](const outcome& how) { answered(c, *branch, how); },
                            [this, then = *c, branch](const sip::message& ok) { return late_answer(then, *branch, ok); });
}

void calls::answered(const std::shared_ptr<call>& c, const std::string& branch, const outcome& how) {
  if (how.status == 407 && ++c->challenges <= challenges_max && c->caller->challenged(*how.answer)) return invite(c, true);
  if (how.status >= 200 && how.status < 300) return established(c, branch, *how.answer);
  failed(c, how.status);
}

bool calls::edges_lived(const call& c) const {
  return world_.edges[c.near_edge].lived(c.near_falls) && world_.edges[c.far_edge].lived(c.far_falls);
}

void calls::forget(const std::shared_ptr<call>& c) {
  by_id_.erase(c->id);
}

void calls::failed(const std::shared_ptr<call>& c, int status) {
  if (status == 503) ++c->refusals;
  c->story += fmt::format(", {} after {} ms", status, (world_.events.now() - c->began) / milliseconds(1));
  forget(c);
  if (status == -1 || !edges_lived(*c)) {
    ++world_.counted.excused;
    c->behind_dead = true;
  } else {
    ++world_.counted.call_answers[status];
    note(world_.counted.failed, fmt::format("INVITE of {} to {} through {}: {} after {} ms at {} ms of the day", c->caller->user, c->callee->user,
                                            world_.edges[c->near_edge].name, status, (world_.events.now() - c->began) / milliseconds(1), world_.wall_ms()));
  }
  again(c);
}

// Its caller tries again, until it is set up.
void calls::again(const std::shared_ptr<call>& c) {
  if (world_.events.now() - c->began > give_up_after) return note_gap(*c);
  ++waiting_;
  world_.events.after(retry_after, [this, c] { --waiting_, attempt(c); });
}

void calls::note_gap(const call& c) {
  const duration gap = world_.events.now() - c.began;
  const bool behind_dead = c.behind_dead || !edges_lived(c); // an answer may pass an edge that was started again meanwhile
  if (gap > slow_after)
    note(world_.counted.slow, fmt::format("{} to {}, {} ms till {} ms of the day, {}:{}", c.caller->user, c.callee->user, gap / milliseconds(1),
                                          world_.wall_ms(), behind_dead ? "an edge died" : "edges lived", c.story));
  if (!behind_dead) return world_.counted.calls.add(gap);
  (c.callee->where == place::street ? world_.counted.calls_behind_dead : world_.counted.calls_behind_dead_nat).add(gap);
}

void calls::acknowledge(const call& c, const std::string& branch) {
  world_.out.acknowledge(branch, {.method = "ACK", .uri = c.target, .from = c.from, .to = c.to, .call_id = c.id, .cseq = c.cseq, .routes = c.routes});
}

void calls::established(const std::shared_ptr<call>& c, const std::string& branch, const sip::message& ok) {
  ++world_.counted.call_answers[ok.status()];
  ++world_.counted.set_up;
  note_gap(*c);
  take_answer(*c, ok);
  acknowledge(*c, branch);
  const double hold_s = world_.wanted.hold_s * (0.5 + world_.random.unit());
  world_.events.after(milliseconds(static_cast<std::int64_t>(hold_s * 1000)), [this, c] { bye(c); });
}

// The caller has given up this try: it acknowledges and hangs up (RFC 3261 §13.2.2.4). `c`: as it was then.
bool calls::late_answer(const call& c, const std::string& branch, const sip::message& ok) {
  if (edges_lived(c)) return false;
  ++world_.counted.late_ok;
  const auto ended = std::make_shared<call>(c);
  take_answer(*ended, ok);
  acknowledge(*ended, branch);
  bye(ended);
  return true;
}

// The callee's first request in the dialog: the other direction.
void calls::callee_ready(phone& p, const std::shared_ptr<incoming>& in) {
  const auto it = by_id_.find(in->call_id);
  if (it == by_id_.end() || it->second->info_sent) return;
  const std::shared_ptr<call> c = it->second;
  c->info_sent = true;
  if (const edge* e = world_.edge_at(in->source)) { // where it really came through
    if (c->far_edge != world_.index_of(e)) c->far_falls = e->falls_now();
    c->far_edge = world_.index_of(e);
  }
  const auto delay_ms = static_cast<std::int64_t>(world_.wanted.hold_s * 400 * world_.random.unit());
  world_.events.after(milliseconds(delay_ms), [this, c, in, &p] {
    if (c->id != in->call_id) return; // its caller has given this try up meanwhile, and hung up
    in_dialog(c, p, c->far_edge,
              {.method = "INFO", .uri = in->target, .from = in->local, .to = in->remote, .call_id = c->id, .cseq = 1, .routes = in->routes}, [] {});
  });
}

void calls::bye(const std::shared_ptr<call>& c) {
  in_dialog(c, *c->caller, c->near_edge,
            {.method = "BYE", .uri = c->target, .from = c->from, .to = c->to, .call_id = c->id, .cseq = ++c->cseq, .routes = c->routes},
            [this, c] { ++world_.counted.ended, forget(c); });
}

// Through the edge of the call, or through any that lives: its name leads there (sip.md §2).
void calls::in_dialog(const std::shared_ptr<call>& c, phone& from, std::size_t edge_index, request what, std::function<void()> next) {
  edge* const through = world_.living_near(edge_index);
  if (through == nullptr) return next();
  world_.out.send(from, *through, what, [this, c, method = what.method, next = std::move(next)](const outcome& how) {
    ++world_.counted.in_dialog;
    if (how.status >= 200 && how.status < 300) return next();
    // A flow that is gone ends nothing, so neither may the node that held it say so (sip.md §6).
    if (how.status == 481 || (how.status != -1 && edges_lived(*c)))
      note(world_.counted.broken, fmt::format("{} in call {} from {} at {} to {} at {}: {}", method, c->id, c->caller->user,
                                              world_.edges[c->near_edge].name, c->callee->user, world_.edges[c->far_edge].name, how.status));
    else ++world_.counted.excused;
    next();
  });
}

} // namespace chaos
