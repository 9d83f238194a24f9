// Registration, and what is left of it afterwards. Each REGISTER gives its Contact a serial number, so that a binding
// that went back to an older state is found out, not only one that is gone.
#include "tests/chaos/load.hpp"

#include "sip/message/name_addr.hpp"

#include <algorithm>
#include <charconv>

namespace chaos {

namespace {

constexpr std::size_t history_max = 12;
constexpr int challenges_max = 5, fetch_tries = 20;
constexpr milliseconds retry_after{300};
constexpr std::size_t fetches_at_once = 40;

std::string quoted(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& l : lines)
    if (!l.empty()) out += fmt::format("{}\"{}\"", out.empty() ? "" : ",", l);
  return "[" + out + "]";
}

std::string story(const phone& p) {
  std::string out;
  for (const std::string& h : p.history) out += " | " + h;
  return out;
}

// The serial number and seconds left of the phone's own contact; nothing: it is not there.
struct found_binding {
  std::uint32_t serial = 0;
  int expires_s = 0;
};
std::optional<found_binding> own_contact(const phone& p, const sip::message& m) {
  for (const std::string_view value : m.values(sip::header::contact)) {
    const auto c = sip::parse_name_addr(value);
    if (!c || c->uri_text.find("@" + p.host_port()) == std::string_view::npos) continue;
    found_binding b;
    const auto serial = c->param("serial"), expires = c->param("expires");
    if (serial) std::from_chars(serial->data(), serial->data() + serial->size(), b.serial);
    if (expires) std::from_chars(expires->data(), expires->data() + expires->size(), b.expires_s);
    return b;
  }
  return std::nullopt;
}

request register_request(phone& p, const std::string& domain) {
  return {.method = "REGISTER", .uri = "sip:" + domain, .from = fmt::format("<{}>;tag={}", p.aor(), p.register_tag),
          .to = fmt::format("<{}>", p.aor()), .call_id = p.register_call_id, .cseq = ++p.cseq};
}

} // namespace

void registrations::all_once(std::function<void()> when_done) {
  when_registered_ = std::move(when_done);
  to_register_ = world_.phones.size();
  const double gap_s = 1 / world_.wanted.rate;
  for (std::size_t i = 0; i < world_.phones.size(); ++i)
    world_.events.after(milliseconds(static_cast<std::int64_t>(static_cast<double>(i) * gap_s * 1000)), [this, i] { refresh(*world_.phones[i]); });
}

void registrations::run() {
  running_ = true;
  due_ = world_.events.now();
  tick();
}

void registrations::tick() {
  if (!running_) return;
  const duration gap(static_cast<std::int64_t>(1e6 / world_.wanted.rate));
  for (; due_ <= world_.events.now(); due_ += gap) {
    refresh(*world_.phones[next_]);
    next_ = (next_ + 1) % world_.phones.size();
  }
  world_.events.after(std::min<duration>(gap, milliseconds(5)), [this] { tick(); });
}

bool registrations::busy() const {
  return std::ranges::any_of(world_.phones, [](const auto& p) { return p->busy; });
}

void registrations::down(std::size_t edge_index) {
  if (!running_) return;
  for (const auto& p : world_.phones)
    if (p->at == edge_index && !p->busy)
      world_.events.after(milliseconds(world_.random.below(1000)), [this, p = p.get()] { refresh(*p); });
}

void registrations::refresh(phone& p) {
  if (p.busy) return;
  p.busy = true;
  p.began = world_.events.now();
  p.behind_dead = false;
  p.challenges = 0;
  attempt(p);
}

void registrations::again(phone& p, milliseconds after) {
  world_.events.after(after, [this, &p] { attempt(p); });
}

void registrations::attempt(phone& p) {
  edge* const through = world_.living_near(p.at);
  if (through == nullptr && !running_ && to_register_ == 0) { // all power is gone, and nobody waits for this one
    p.busy = false;
    return;
  }
  if (through == nullptr) return again(p, milliseconds(100));
  if (world_.index_of(through) != p.at || !through->alive) p.behind_dead = true;
  p.at = world_.index_of(through);
  request r = register_request(p, world_.wanted.domain);
  const std::uint32_t serial = ++p.sent;
  r.more = fmt::format("Contact: {};serial={}\r\nExpires: {}\r\n", p.contact(), serial, world_.wanted.expires_s) +
           p.credentials("Authorization", "REGISTER", r.uri);
  world_.out.send(p, *through, r, [this, &p, serial, through, falls = through->falls_now()](const outcome& how) {
    if (!through->lived(falls)) p.behind_dead = true;
    remember(p, serial, *through, how.status);
    if (how.status == 200) p.bound_at = world_.index_of(through);
    answered(p, serial, how);
  });
}

void registrations::remember(phone& p, std::uint32_t serial, const edge& through, int status) const {
  const double at_s = static_cast<double>(world_.wall_ms()) / 1000;
  p.history.push_back(fmt::format("{:.3f} serial {} cseq {} {}: {}", at_s, serial, p.cseq, through.name, status));
  if (p.history.size() > history_max) p.history.pop_front();
}

void registrations::answered(phone& p, std::uint32_t serial, const outcome& how) {
  if (how.status > 0) ++world_.counted.register_answers[how.status];
  if (how.status <= 0) return attempt(p);
  if (how.status == 401 && ++p.challenges <= challenges_max && p.challenged(*how.answer)) return attempt(p);
  if (how.status == 200) {
    p.acked = serial;
    p.acked_at = world_.events.now();
    const auto own = own_contact(p, *how.answer);
    p.granted_s = own ? own->expires_s : 0;
    if (!own || own->serial != serial) note(world_.counted.wrong_no, fmt::format("{}: the 200 to serial {} does not show it", p.user, serial));
    const duration gap = p.acked_at - p.began;
    (p.behind_dead ? world_.counted.behind_dead : world_.counted.living).add(gap);
    if (!p.behind_dead && gap > slow_after)
      note(world_.counted.slow_registers, fmt::format("REGISTER of {}, {} ms, its edges lived{}", p.user, gap / milliseconds(1), story(p)));
    ++world_.counted.registered;
    p.busy = false;
    if (to_register_ > 0 && serial >= 1 && --to_register_ == 0) when_registered_();
    return;
  }
  note(world_.counted.failed, fmt::format("REGISTER of {} through {}: {} after {} ms at {} ms of the day", p.user, world_.edges[p.at].name, how.status,
                                          (world_.events.now() - p.began) / milliseconds(1), world_.wall_ms()));
  // A firm "no" is never true of these phones (consistency.md, promise 2); all else is tried again.
  if (how.status == 401 || how.status == 403 || how.status == 404 || how.status == 400)
    note(world_.counted.wrong_no, fmt::format("REGISTER of {}: {}", p.user, how.status));
  p.challenges = 0;
  if (how.status == 503) p.at = (p.at + 1) % world_.edges.size();
  again(p, retry_after);
}

struct registrations::verdict {
  std::deque<std::pair<phone*, edge*>> left;
  std::size_t open = 0, asked = 0, found = 0, expired = 0;
  std::vector<std::string> lost, stale, unreadable;
  std::function<void(std::string)> done;
};

void registrations::verify(std::function<void(std::string)> when_done) {
  const auto v = std::make_shared<verdict>();
  v->done = std::move(when_done);
  for (edge& e : world_.edges)
    for (const auto& p : world_.phones)
      if (e.up && p->acked > 0) v->left.emplace_back(p.get(), &e);
  if (v->left.empty()) return v->done("{\"asked\":0}");
  for (std::size_t i = 0; i < fetches_at_once; ++i) next_fetch(v);
}

void registrations::next_fetch(const std::shared_ptr<verdict>& v) {
  if (v->left.empty()) {
    if (v->open != 0 || !v->done) return;
    const auto done = std::exchange(v->done, {});
    return done(fmt::format(R"({{"asked":{},"found":{},"expired":{},"lost":{},"stale":{},"unreadable":{},"examples":{{"lost":{},"stale":{},"unreadable":{}}}}})",
                            v->asked, v->found, v->expired, v->lost.size(), v->stale.size(), v->unreadable.size(), quoted(v->lost),
                            quoted(v->stale), quoted(v->unreadable)));
  }
  const auto [p, through] = v->left.front();
  v->left.pop_front();
  ++v->open;
  ++v->asked;
  fetch(*p, *through, 0, v);
}

// A REGISTER without Contact (RFC 3261 §10.2.3), outside the order of the phone's own.
void registrations::fetch(phone& p, edge& through, int tries, const std::shared_ptr<verdict>& v) {
  request r = register_request(p, world_.wanted.domain);
  r.call_id = "f" + world_.out.unique();
  r.more = p.credentials("Authorization", "REGISTER", r.uri);
  world_.out.send(p, through, r, [this, &p, &through, tries, v](const outcome& how) {
    if (how.status != 200 && tries < fetch_tries) {
      if (how.status == 401 && p.challenged(*how.answer)) return fetch(p, through, tries + 1, v);
      world_.events.after(retry_after, [this, &p, &through, tries, v] { fetch(p, through, tries + 1, v); });
      return;
    }
    if (how.status == 200) judge(p, through, *how.answer, *v);
    else note(v->unreadable, fmt::format("{} through {}: {}", p.user, through.name, how.status));
    --v->open;
    next_fetch(v);
  });
}

void registrations::judge(phone& p, const edge& through, const sip::message& answer, verdict& v) {
  const auto own = own_contact(p, answer);
  if (!own && world_.events.now() >= p.acked_at + std::chrono::seconds(p.granted_s)) ++v.expired;
  else if (!own) note(v.lost, fmt::format("{} through {}: serial {} is not there{}", p.user, through.name, p.acked, story(p)));
  else if (own->serial < p.acked || own->serial > p.sent)
    note(v.stale, fmt::format("{} through {}: serial {}, acknowledged {}, sent {}{}", p.user, through.name, own->serial, p.acked, p.sent, story(p)));
  else ++v.found;
}

} // namespace chaos
