#include "roles/registrar/update_rule.hpp"

#include "sip/message/uri.hpp"
#include "sip/token/token.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

namespace skald::roles {
namespace {

struct held {
  std::string item;
  std::optional<binding> b; // nullopt: does not decode; only "remove all" touches it
};

bool same_uri(std::string_view a, std::string_view b) {
  if (a == b) return true;
  const auto x = sip::parse_uri(a), y = sip::parse_uri(b);
  return x && y && sip::equal(*x, *y); // RFC 3261 §19.1.4
}

class update {
public:
  update(const registration& r, const std::vector<dht::record>& current) : r_(r) {
    for (const dht::record& one : current) {
      auto b = decode_binding(one.value);
      held_.push_back({one.item, b ? std::optional(std::move(*b)) : std::nullopt});
    }
  }

  std::expected<std::vector<dht::change>, update_refusal> run() {
    if (r_.repeated && !was_lost()) return repeat();
    for (const held& h : held_)
      if (r_.wanted.remove_all && !remove(h)) return std::unexpected(update_refusal::out_of_order);
    for (const wanted_contact& w : r_.wanted.contacts)
      if (!(w.granted_s == 0 ? take_off(w) : put(w))) return std::unexpected(update_refusal::out_of_order);
    if (grows() && live_after() > contacts_per_aor_max) return std::unexpected(update_refusal::too_many);
    std::vector<dht::change> out;
    // Those too that are not seen here, as on the other side of a cut.
    if (r_.wanted.remove_all) {
      out.push_back(dht::remove_all());
      std::erase_if(changes_, [](const auto& c) { return c.second.remove; });
    }
    for (auto& [item, c] : changes_) out.push_back(std::move(c));
    return out;
  }

private:
  // RFC 3261 §10.3 steps 6 and 7: with the Call-ID that made the binding, CSeq has to be higher. A phone that rebooted
  // counts from 1 again: the nonce that it used says which of the two is newer (sip.md §4).
  bool in_order(const binding& b) const {
    return b.call_id != r_.wanted.call_id || r_.wanted.cseq > b.cseq || (r_.again && r_.wanted.cseq == b.cseq) || r_.nonce_made > b.updated;
  }

  bool matches(const wanted_contact& w, const binding& b) const {
    if (w.reg_id != 0 && b.reg_id != 0) return w.instance == b.instance && w.reg_id == b.reg_id; // RFC 5626 §6
    // One of them knows nothing of outbound (a phone whose setting was changed): removal goes by the URI alone.
    if (w.reg_id != 0 || b.reg_id != 0) return (w.granted_s == 0 || w.instance == b.instance) && same_uri(w.uri, b.contact);
    return same_uri(w.uri, b.contact);
  }

  bool remove(const held& h) {
    if (h.b && !in_order(*h.b)) return false;
    changes_.try_emplace(h.item, dht::change{h.item, {}, 0, true});
    return true;
  }

  bool take_off(const wanted_contact& w) {
    for (const held& h : held_)
      if (h.b && matches(w, *h.b) && !remove(h)) return false;
    return true;
  }

  bool put(const wanted_contact& w) {
    binding b;
    for (const held& h : held_) {
      if (!h.b || !(matches(w, *h.b) || replaces(w, h))) continue;
      if (!remove(h)) return false;
      take_former(*h.b, b.former);
    }
    trim(b.former);
    b.aor = r_.aor;
    b.contact = w.uri;
    b.contact_params = w.params;
    b.q = w.q;
    b.instance = w.instance;
    b.reg_id = w.reg_id;
    b.call_id = r_.wanted.call_id;
    b.cseq = r_.wanted.cseq;
    b.path = r_.wanted.path;
    b.edge = r_.edge;
    b.user_agent = r_.wanted.user_agent;
    b.updated = r_.now;
    b.expires = r_.now + std::int64_t{w.granted_s} * 1000;
    b.id = w.reg_id != 0 ? sip::binding_id(r_.aor, w.instance, w.reg_id) : sip::binding_id(r_.aor, w.uri);
    const std::string item = b.item();
    changes_.insert_or_assign(item, dht::change{item, encode(b), b.expires, false});
    return true;
  }

  // What may still ring by the flows that it had (sip.md §6).
  void take_former(const binding& was, std::vector<former_flow>& out) const {
    if (was.path.empty() || r_.wanted.path.empty()) return;
    if (was.path.front() != r_.wanted.path.front()) out.push_back({was.id, was.path.front(), r_.now + milliseconds(former_flow_kept).count()});
    for (const former_flow& f : was.former)
      if (f.until > r_.now) out.push_back(f);
  }
  void trim(std::vector<former_flow>& former) const {
    std::ranges::sort(former, std::ranges::greater{}, [](const former_flow& f) { return std::tie(f.until, f.binding_id, f.path); });
    if (former.size() > former_flows_max) former.resize(former_flows_max);
  }

  // An instance without reg-id that comes with another contact (sip.md §4): its old binding goes if it is of the same
  // Call-ID or its flow is gone; else every reconnect of a TLS phone would leave a dead contact.
  bool replaces(const wanted_contact& w, const held& h) const {
    if (w.instance.empty() || w.reg_id != 0 || h.b->instance != w.instance || h.b->reg_id != 0) return false;
    const bool of_this_request = std::ranges::any_of(
        r_.wanted.contacts, [&](const wanted_contact& other) { return &other != &w && matches(other, *h.b); });
    if (of_this_request) return false;
    if (h.b->call_id == r_.wanted.call_id) return true;
    return std::ranges::any_of(r_.flows_gone, [&](const registration::gone& g) {
      return g.item == h.item && g.updated == h.b->updated;
    });
  }

  // A copy of a request whose nonce's use outlived its effect: the owner that had it died before the write was held.
  // The binding says so by an older CSeq of the same Call-ID.
  bool was_lost() const {
    return std::ranges::any_of(held_, [&](const held& h) {
      return h.b && h.b->call_id == r_.wanted.call_id && h.b->cseq < r_.wanted.cseq;
    });
  }

  // A retransmission that came by another way: nothing changes; only, if somebody has undone it since, it is not
  // answered as if it stood.
  std::expected<std::vector<dht::change>, update_refusal> repeat() const {
    for (const wanted_contact& w : r_.wanted.contacts) {
      const bool there = std::ranges::any_of(held_, [&](const held& h) { return h.b && matches(w, *h.b); });
      if (there != (w.granted_s != 0)) return std::unexpected(update_refusal::repeat_undone);
    }
    return std::vector<dht::change>{};
  }

  bool is_held(const std::string& item) const {
    return std::ranges::any_of(held_, [&](const held& h) { return h.item == item; });
  }
  bool grows() const {
    return std::ranges::any_of(changes_, [&](const auto& c) { return !c.second.remove && !is_held(c.first); });
  }
  std::size_t live_after() const {
    std::size_t n = held_.size();
    for (const auto& [item, c] : changes_) {
      if (c.remove) --n;
      else if (!is_held(item)) ++n;
    }
    return n;
  }

  const registration& r_;
  std::vector<held> held_;
  std::map<std::string, dht::change> changes_;
};

} // namespace

std::expected<std::vector<dht::change>, update_refusal> update_bindings(const registration& r,
                                                                        const std::vector<dht::record>& current) {
  return update(r, current).run();
}

} // namespace skald::roles
