#include "sip/resolve/resolver.hpp"

#include "base/metrics.hpp"

#include <utility>

namespace skald::sip {

namespace {

metrics::counter refused("skald_resolutions_refused_total", "RFC 3263 resolutions refused because too many run");
metrics::counter unsuccessful("skald_resolutions_failed_total", "RFC 3263 resolutions that found no target");

} // namespace

struct resolver::core {
  dns_port& dns;
  rng& random;
  resolve_options options;
  std::size_t running = 0;
};

struct resolver::job {
  std::weak_ptr<core> owner;
  resolution work;
  callback done; // empty once called
};

resolver::resolver(dns_port& dns, rng& random, resolve_options options)
    : core_(std::make_shared<core>(core{dns, random, std::move(options)})) {}
resolver::~resolver() = default;

std::size_t resolver::size() const {
  return core_->running;
}

void resolver::resolve(const uri& where, callback done) {
  if (core_->running >= resolutions_max) {
    refused.add();
    return done(resolved{resolve_status::failed, {}});
  }
  ++core_->running;
  pump(std::make_shared<job>(job{core_, resolution(where, core_->options, core_->random), std::move(done)}));
}

// The port may answer before query() returns, so this may be inside itself; whoever finds the outcome reports it.
void resolver::pump(const std::shared_ptr<job>& j) {
  const auto owner = j->owner.lock();
  if (!owner) return;
  for (dns_query& q : j->work.take_queries())
    owner->dns.query(q.name, q.type, [j, q](dns_answer reply) {
      if (j->owner.expired()) return; // the generator that the work uses may be gone too
      j->work.answer(q, reply);
      pump(j);
    });
  if (!j->work.outcome() || !j->done) return;
  --owner->running;
  if (j->work.outcome()->status != resolve_status::ok) unsuccessful.add();
  std::exchange(j->done, nullptr)(*j->work.outcome());
}

} // namespace skald::sip
