#include "dnsupdate/publisher.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "dnsupdate/zone.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace skald::dnsupdate {
namespace {

metrics::counter updates_applied("skald_dns_updates_total", "DNS updates applied by the server.");
metrics::counter update_conflicts("skald_dns_update_conflicts_total", "DNS updates refused because another publisher was there.");
metrics::counter problems("skald_dns_publish_problems_total", "Rounds of publishing that ended in an error.");

bool same(const difference& a, const difference& b) { return a.added == b.added && a.removed == b.removed; }

} // namespace

publisher::publisher(exchange_port& port, scheduler& timers, const clock& clk, rng& random)
    : port_(port), timers_(timers), clock_(clk), random_(random) {}

publisher::~publisher() {
  *alive_ = false;
  timers_.cancel(timer_);
}

void publisher::set(std::optional<publisher_config> config) {
  if (config == config_) return;
  config_ = std::move(config);
  ++generation_;
  timers_.cancel(timer_);
  finished_ = std::move(reader_);
  sending_ = false;
  pending_.reset();
  not_taken_.reset();
  conflicts_ = 0;
  backoff_ = backoff_first;
  status_ = {};
  if (config_ && wish_) schedule(duration{});
}

void publisher::want(publisher_wish wish) {
  const bool news = !wish_ || wish_->records != wish.records || wish_->standing != wish.standing || wish_->hosts != wish.hosts;
  wish_ = std::move(wish);
  if (!config_ || !news) return;
  if (reader_ || sending_) {
    stale_ = true; // what runs ends first; then once more
    return;
  }
  schedule(pause_after_change);
}

void publisher::schedule(duration in) {
  timers_.cancel(timer_);
  timer_ = timers_.at(clock_.now() + in, [this] { run(); });
}

void publisher::run() {
  if (!config_ || !wish_ || reader_ || sending_) return;
  stale_ = false;
  if (wish_->records.empty() || wish_->standing == publisher_wish::side::less) {
    status_.last_error = wish_->records.empty() ? "" : "this side of a split has less than half of the members: it publishes nothing";
    return rest(publish_state::silent);
  }
  if (!config_->key.empty() && !usable(config_->key)) return problem({publish_state::bad_key, "the TSIG key cannot be used: algorithm or secret"});
  if (status_.state == publish_state::off) status_.state = publish_state::reading;
  auto hosts = hosts_in(config_->domain, wish_->records);
  hosts.insert(hosts.end(), wish_->hosts.begin(), wish_->hosts.end());
  for (const std::string& h : hosts_in(config_->domain, status_.seen)) hosts.push_back(h); // doubles are dropped by the reader
  reader_ = std::make_unique<zone_reader>(port_, random_, config_->server, config_->domain, std::move(hosts),
                                          [this, alive = alive_, generation = generation_](auto got) {
                                            if (!*alive || generation != generation_) return;
                                            on_read(std::move(got));
                                          });
  reader_->start();
}

void publisher::on_read(std::expected<zone_seen, publish_problem> got) {
  finished_ = std::move(reader_);
  if (!got) return problem(std::move(got.error()));
  if (stale_) return run(); // the wish may name hosts that were not read
  seen_ = std::move(*got);
  status_.zone = seen_.zone;
  status_.warning = seen_.negative_ttl <= negative_ttl_warned_s
                        ? ""
                        : fmt::format("the zone {} lets resolvers keep negative answers for {} s: a name that was missing once stays missing for so long",
                                      seen_.zone, seen_.negative_ttl);
  compare_and_send();
}

// With exactly half of the members the server is the tie-breaker: whoever swaps the guard first goes on.
bool publisher::may_publish(const std::optional<guard>& there) {
  if (wish_->standing != publisher_wish::side::half || !there) return true;
  return there->publisher == config_->self || there == last_guard_ || std::ranges::find(wish_->earlier_stamps, there->stamp) != wish_->earlier_stamps.end();
}

void publisher::compare_and_send() {
  std::vector<record> guards; // all TXT of that name: the prerequisite is on the whole set
  std::optional<guard> there;
  for (const record& r : seen_.records) {
    if (r.type != rr_type::txt || r.name != mark_of(config_->domain)) continue;
    guards.push_back(r);
    if (auto g = read_guard(r); g && (!there || g->counter > there->counter)) there = std::move(g);
  }
  if (!may_publish(there)) {
    status_.last_error = fmt::format("half of the members are here, and {} has published since the split", there->publisher);
    return rest(publish_state::silent);
  }
  if (pending_ && there == pending_) applied(); // the answer was lost, the update was not
  pending_.reset();
  last_guard_ = there;
  difference d = compare(config_->domain, wish_->records, seen_.records);
  status_.seen = seen_.records;
  if (d.foreign != status_.foreign && !d.foreign.empty()) log::info("dns", fmt::format("{} records in {} are not ours and stay", d.foreign.size(), seen_.zone));
  status_.foreign = d.foreign;
  status_.withheld = d.withheld;
  // Where nothing else is to do, the guard follows the view at each minute: both sides of a later split then know it.
  if (d.empty() && there && there->stamp == wish_->stamp) return rest(publish_state::published);
  if (d.empty() && there && !guard_late_) {
    guard_late_ = true;
    return rest(publish_state::published);
  }
  guard_late_ = false;
  if (not_taken_ && !d.empty() && same(*not_taken_, d)) {
    not_taken_.reset();
    const record& first = d.added.empty() ? d.removed.front() : d.added.front();
    return problem({publish_state::not_applied, fmt::format("the server accepted an update and did not do it: {} {}", first.name, to_string(first.type))});
  }
  send(guards, there, d);
}

void publisher::send(const std::vector<record>& guards, const std::optional<guard>& there, const difference& d) {
  pending_ = guard{config_->self, wish_->stamp, (there ? there->counter : 0) + 1};
  update u{seen_.zone, mark_of(config_->domain), guards, {}, {guard_record(config_->domain, *pending_)}};
  for (const record& g : guards)
    if (read_guard(g)) u.removed.push_back(g);
  std::size_t size = 512;
  last_sent_ = {};
  for (const change& c : in_order(d)) {
    size += c.what.name.size() + c.what.rdata.size() + 16;
    if (size > update_bytes_max) break; // the rest follows after the next reading
    (c.add ? u.added : u.removed).push_back(c.what);
  }
  last_sent_.added = d.added;
  last_sent_.removed = d.removed;
  auto made = make_update(static_cast<std::uint16_t>(random_.next()), u, config_->key);
  if (!made) return problem({publish_state::bad_key, "the TSIG key cannot be used: algorithm or secret"});
  request_ = std::move(*made);
  over_tcp_ = request_.wire.size() > udp_message_max;
  tries_ = 0;
  sending_ = true;
  transmit();
}

void publisher::transmit() {
  ++tries_;
  std::string wire = request_.wire;
  port_.exchange(config_->server, std::move(wire), over_tcp_, [this, alive = alive_, generation = generation_](result<std::string> got) {
    if (!*alive || generation != generation_ || !sending_) return;
    on_answer(std::move(got));
  });
}

void publisher::on_answer(result<std::string> got) {
  const auto r = got ? read_response(*got, request_, config_->key) : result<response>(std::unexpected(got.error()));
  if (!r) {
    if (tries_ < update_tries) return transmit(); // the same message: applied twice, its guard does not fit any more
    sending_ = false;
    return problem({r.error() == errc::expired ? publish_state::timed_out : publish_state::bad_answer, "update: no answer"});
  }
  if (r->truncated && !over_tcp_) {
    over_tcp_ = true;
    tries_ = 0;
    return transmit();
  }
  sending_ = false;
  const auto code = static_cast<rcode>(r->code);
  if (code == rcode::no_such_set || code == rcode::set_exists || code == rcode::no_such_name || code == rcode::name_exists) return on_conflict();
  if (code != rcode::ok || r->tsig_error != 0) {
    pending_.reset();
    return problem(problem_of(*r, "update"));
  }
  if (!config_->key.empty() && !r->verified) return problem({publish_state::bad_key, "update: the server's answer is not signed with the key"});
  pending_.reset();
  applied();
  run(); // read again: what was left out goes next, and what is shown is what is there
}

// RFC 2136 §3.2: the guard is not what we read.
void publisher::on_conflict() {
  update_conflicts.add();
  if (++conflicts_ > conflicts_in_a_row_max) {
    conflicts_ = 0;
    return problem({publish_state::another_publisher, "update: another publisher changes the zone at the same time"});
  }
  schedule(pause_after_conflict + milliseconds(random_.below(100)));
}

void publisher::applied() {
  ++status_.updates;
  updates_applied.add();
  not_taken_ = last_sent_;
  conflicts_ = 0;
  backoff_ = backoff_first;
}

void publisher::problem(publish_problem p) {
  problems.add();
  if (status_.state != p.state || status_.last_error != p.text)
    log::warning("dns", fmt::format("cannot publish {} at {}: {}", config_->domain, config_->server.text(), p.text));
  status_.state = p.state;
  status_.last_error = std::move(p.text);
  schedule(stale_ ? pause_after_conflict : backoff_);
  backoff_ = std::min(backoff_ * 2, backoff_most);
}

void publisher::rest(publish_state s) {
  if (s == publish_state::published) {
    if (status_.state != s) log::info("dns", fmt::format("{} is published at {}", config_->domain, config_->server.text()));
    status_.last_error.clear();
    not_taken_.reset();
    conflicts_ = 0;
    backoff_ = backoff_first;
  }
  status_.state = s;
  schedule(stale_ ? pause_after_change : reconcile_every);
}

} // namespace skald::dnsupdate
