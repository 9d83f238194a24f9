#include "roles/proxy/dialog_keeper.hpp"

#include "base/metrics.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/record_route.hpp"
#include "roles/proxy/stages.hpp"
#include "sip/message/cseq.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace skald::roles {

namespace {

constexpr std::string_view reports_help = "Dialogs without a word for an hour, by what their edges said.";
metrics::counter reported("skald_dialogs_asked_total", reports_help, R"(answer="passes")");
metrics::counter denied("skald_dialogs_asked_total", reports_help, R"(answer="denied")");
metrics::counter in_doubt("skald_dialogs_asked_total", reports_help, R"(answer="in_doubt")");
constexpr std::string_view byes_help = "BYEs whose UA could not be reached when they came.";
metrics::counter byes_kept("skald_dialogs_byes_total", byes_help, R"(fate="kept")");
metrics::counter byes_delivered("skald_dialogs_byes_total", byes_help, R"(fate="delivered")");
metrics::counter byes_tried("skald_dialogs_byes_total", byes_help, R"(fate="tried_again")");

std::optional<sip::token> token_of(const dialog_party& p, const key_ring& keys) {
  if (p.token.empty()) return std::nullopt;
  auto t = sip::open_token(p.token, keys);
  return t ? std::optional(*t) : std::nullopt;
}

std::string address_of(const dialog_party& p) {
  return fmt::format("<{}>;tag={}", p.aor.empty() ? p.contact : p.aor, p.tag);
}

sip::message make_question(worker& w, const name_index& names, const node_id& edge) {
  const std::string domain = "sip:" + names.facts()->config->default_domain;
  sip::message m = sip::message::request("OPTIONS", domain);
  m.append(sip::header::max_forwards, "1");
  m.append(sip::header::from, "<" + domain + ">;tag=" + w.calls.unique_tag());
  m.append(sip::header::to, "<" + domain + ">");
  m.append(sip::header::call_id, w.calls.unique_tag());
  m.append(sip::header::cseq, "1 OPTIONS");
  m.append(sip::header::route, make_link_route(names, edge, {.stage = stage::out, .dialogs = true}));
  return m;
}

std::vector<std::string_view> lines_of(std::string_view body) {
  std::vector<std::string_view> out;
  while (!body.empty()) {
    const std::size_t end = std::min(body.find('\n'), body.size());
    if (end != 0) out.push_back(body.substr(0, end));
    body.remove_prefix(std::min(end + 1, body.size()));
  }
  return out;
}

ring_key key_for(const dialog_record& d) {
  return dht::key_of_aor(d.caller.aor.empty() ? d.callee.aor : d.caller.aor);
}

void put(worker& w, const dialog_record& d, unix_ms expires) {
  w.env.cluster.store().put(dht::table::dialogs, key_for(d),
                            {{.item = d.item(), .value = encode(d), .expires = expires, .remove = false}}, [](dht::write_result) {});
}

// The BYE of who hung up, made again from what the record holds (RFC 3261 §12.2.1.1).
sip::message make_bye(const dialog_record& d) {
  const dialog_party& sender = d.ended == dialog_end::by_caller ? d.caller : d.callee;
  const dialog_party& receiver = d.ended == dialog_end::by_caller ? d.callee : d.caller;
  sip::message m = sip::message::request("BYE", receiver.contact);
  m.append(sip::header::max_forwards, std::to_string(max_forwards_default));
  m.append(sip::header::from, address_of(sender));
  m.append(sip::header::to, address_of(receiver));
  m.append(sip::header::call_id, d.call_id);
  m.append(sip::header::cseq, std::to_string(d.bye_cseq) + " BYE");
  return m;
}

} // namespace

dialog_keeper::~dialog_keeper() { w_.env.timers.cancel(timer_); }

void dialog_keeper::start() {
  began_ = w_.env.clock.now();
  timer_ = w_.env.timers.at(began_ + keeper_pass_every, [this] { pass(); });
}

// A page of the records that this node owns; what edges are to be asked goes in one request to each.
void dialog_keeper::pass() {
  const mono_time now = w_.env.clock.now();
  if (cursor_.empty()) began_ = now;
  std::map<std::uint64_t, questions> by_edge;
  if (w_.names()->facts()->serving)
    for (const dht::record& r : w_.env.cluster.store().page(dht::table::dialogs, cursor_, keeper_page_rows))
      if (auto d = decode_dialog(r.value)) look_at(std::move(*d), by_edge);
  for (auto& [edge, about] : by_edge)
    ask(edge, std::move(about));
  const mono_time next = cursor_.empty() ? std::max(began_ + keeper_pass_every, now + keeper_page_pause) : now + keeper_page_pause;
  timer_ = w_.env.timers.at(next, [this] { pass(); });
}

void dialog_keeper::look_at(dialog_record d, std::map<std::uint64_t, questions>& by_edge) {
  if (d.ended != dialog_end::no) return deliver(std::move(d));
  if (w_.env.cluster.store().cluster_time() - d.updated < dialog_report_every.count()) return;
  const auto names = w_.names();
  auto q = std::make_shared<question>();
  q->d = std::move(d);
  std::set<std::uint64_t> edges;
  for (const dialog_party* p : {&q->d.caller, &q->d.callee}) {
    if (const auto t = token_of(*p, *names->facts()->keys)) edges.insert(t->node);
    else q->doubtful |= !p->token.empty();
  }
  q->open = edges.size();
  if (edges.empty()) q->doubtful = true;
  for (const std::uint64_t edge : edges)
    by_edge[edge].push_back(q);
}

void dialog_keeper::ask(std::uint64_t edge, questions about) {
  const auto names = w_.names();
  const dht::member* node = names->member_of_head(edge);
  if (edge == names->facts()->view->self.head()) {
    for (const question_ptr& q : about) {
      q->known |= still_passes(w_, q->d.item());
      if (--q->open == 0) conclude(*q);
    }
    return;
  }
  if (node == nullptr || !node->alive()) return answered(about, nullptr);
  sip::message m = make_question(w_, *names, node->id);
  std::string body;
  for (const question_ptr& q : about)
    body.append(q->d.item()).append("\n");
  m.set_body("text/plain", body);
  w_.env.flows.open_link(node->id, [this, alive = w_.alive, names, about = std::move(about), m = std::move(m)](std::optional<sip::flow> f) mutable {
    if (!*alive) return;
    if (!f) return answered(about, nullptr);
    w_.calls.put_via(m, *f, 0, *names);
    asked_[w_.env.transactions->send_request(m, *f)] = std::move(about);
  });
}

void dialog_keeper::answered(const questions& about, const sip::message* response) {
  const bool good = response != nullptr && response->status() == 200;
  const auto known = good ? lines_of(response->body()) : std::vector<std::string_view>{};
  for (const question_ptr& q : about) {
    if (!good) q->doubtful = true;
    else q->known |= std::ranges::find(known, q->d.item()) != known.end();
    if (--q->open == 0) conclude(*q);
  }
}

void dialog_keeper::conclude(const question& q) {
  const unix_ms now = w_.env.cluster.store().cluster_time();
  if (q.known) {
    reported.add();
    dialog_record d = q.d;
    d.updated = now;
    return put(w_, d, now + dialog_life.count());
  }
  if (q.doubtful) return in_doubt.add(); // an edge that is dead or silent: its 12 h run
  denied.add();
  remove(q.d);
}

void dialog_keeper::remove(const dialog_record& d) {
  w_.env.cluster.store().put(dht::table::dialogs, key_for(d), {{.item = d.item(), .value = {}, .expires = 0, .remove = true}},
                             [](dht::write_result) {});
}

// ---- a BYE that could not be delivered

void dialog_keeper::deliver(dialog_record d) {
  const auto names = w_.names();
  const dialog_party& receiver = d.ended == dialog_end::by_caller ? d.callee : d.caller;
  const auto t = token_of(receiver, *names->facts()->keys);
  if (!t || receiver.contact.empty()) return remove(d); // nobody whom we could tell
  if (under_way_.size() >= byes_under_way_max || !under_way_.insert(d.item()).second) return;
  byes_tried.add();
  auto e = std::make_shared<errand>();
  e->to = our_route{.host = w_.env.flows.advertised(t->flow()).text(), .token = *t, .has_user = true};
  e->d = std::move(d);
  go(e, way_by_token(w_, *names, make_bye(e->d), e->to, false));
}

void dialog_keeper::go(const errand_ptr& e, std::expected<way, int> found) {
  if (!found) {
    if (found.error() != 430 || std::exchange(e->found_again, true)) return over(e, false);
    return find_again(w_, w_.names(), make_bye(e->d), e->to, false,
                      [this, alive = w_.alive, e](std::expected<way, int> again) {
                        if (*alive) go(e, std::move(again));
                      });
  }
  const auto opened = [this, alive = w_.alive, e, m = found->request](std::optional<sip::flow> f) mutable {
    if (!*alive) return;
    if (f) send(e, *f, std::move(m));
    else over(e, false);
  };
  switch (found->kind) {
  case way::kind::flow:
    return send(e, found->flow, std::move(found->request));
  case way::kind::link: {
    sip::message m = std::move(found->request);
    m.prepend(sip::header::route, found->link_route);
    return w_.env.flows.open_link(found->node, [this, alive = w_.alive, e, m = std::move(m)](std::optional<sip::flow> f) mutable {
      if (!*alive) return;
      if (f) send(e, *f, std::move(m));
      else over(e, false);
    });
  }
  case way::kind::server:
    return w_.resolver.resolve(found->next_hop, [this, alive = w_.alive, e, opened](std::vector<sip::target> targets) mutable {
      if (!*alive) return;
      if (targets.empty()) return over(e, false);
      w_.env.flows.open(targets.front(), std::move(opened));
    });
  }
}

void dialog_keeper::send(const errand_ptr& e, const sip::flow& f, sip::message m) {
  w_.calls.put_via(m, f, 0, *w_.names());
  sent_[w_.env.transactions->send_request(m, f)] = e;
}

void dialog_keeper::over(const errand_ptr& e, bool delivered) {
  under_way_.erase(e->d.item());
  if (!delivered) return; // the next pass tries again, until the record expires
  byes_delivered.add();
  remove(e->d);
}

bool dialog_keeper::on_response(sip::client_id id, const sip::message& response) {
  if (const auto it = asked_.find(id); it != asked_.end()) {
    if (response.status() < 200) return true;
    const questions about = std::move(it->second);
    asked_.erase(it);
    answered(about, &response);
    return true;
  }
  const auto it = sent_.find(id);
  if (it == sent_.end()) return false;
  const int status = response.status();
  if (status < 200) return true;
  const errand_ptr e = it->second;
  sent_.erase(it);
  if (status == 430) go(e, std::unexpected(430)); // its edge knows that the flow is gone
  else over(e, status / 100 != 5);                // the UA's word, whatever it is (RFC 3261 §15.1.1)
  return true;
}

bool dialog_keeper::on_failure(sip::client_id id) {
  if (const auto it = asked_.find(id); it != asked_.end()) {
    const questions about = std::move(it->second);
    asked_.erase(it);
    answered(about, nullptr);
    return true;
  }
  const auto it = sent_.find(id);
  if (it == sent_.end()) return false;
  const errand_ptr e = it->second;
  sent_.erase(it);
  over(e, false);
  return true;
}

// ---- at the edges

bool still_passes(worker& w, std::string_view item) {
  const auto e = w.dialogs.find_item(item);
  if (!e) return false;
  const auto names = w.names();
  const mono_time now = w.env.clock.now();
  bool any = false;
  for (const dialog_party* p : {&e->record.caller, &e->record.callee}) {
    const auto t = token_of(*p, *names->facts()->keys);
    if (!t || t->node != names->facts()->view->self.head()) continue;
    const sip::flow f = t->flow();
    const bool registered = t->binding_id == 0 || w.flows.knows(f, now);
    any |= registered && w.env.flows.alive(f) && !w.flows.gone(f) && !w.flows.moved(f, t->binding_id, now);
  }
  return any;
}

void answer_for_dialogs(worker& w, const context_ptr& c) {
  sip::message r = w.calls.make_response(*c, 200);
  std::string body;
  for (const std::string_view item : lines_of(c->original.body()))
    if (still_passes(w, item)) body.append(item).append("\n");
  r.set_body("text/plain", body);
  w.calls.answer(c, std::move(r));
}

void keep_bye(worker& w, const context& c) {
  const auto cseq = sip::parse_cseq(c.original.line(sip::header::cseq).value_or(std::string_view{}));
  if (!cseq) return;
  const std::string from(tag_of(c.original, sip::header::from));
  ask_dialogs(w, *c.names, c.original, [&w, from, number = cseq->number](std::optional<dialog_record> d) {
    if (!d) return;
    byes_kept.add();
    d->ended = d->caller.tag == from ? dialog_end::by_caller : dialog_end::by_callee;
    d->bye_cseq = number;
    d->updated = w.env.cluster.store().cluster_time();
    put(w, *d, d->updated + bye_kept.count());
  });
}

} // namespace skald::roles
