// Aliases (sip.md §3): a subscriber's record lists them, which lets him present them; under each alias's own key stands
// a signpost with his AoR, by which calls find him. Two keys, so two writes: they are ordered so that the same command
// again finishes what a failure left half done, and nothing is written over what is somebody else's.
#include "node/control/control_routes.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {

using nlohmann::json;

namespace {

failure no_such_user(const std::string& aor) { return {fmt::format("there is no {}", aor), "see: skald user list"}; }

bool has(const roles::subscriber& who, const std::string& alias) { return std::ranges::find(who.aliases, alias) != who.aliases.end(); }

// Why this AoR, under which `there` stands, cannot become an alias of `who`; nullopt: it can.
std::optional<failure> taken(const roles::subscriber& who, const std::string& alias, const std::optional<roles::subscriber>& there) {
  if (!there) return std::nullopt;
  if (there->alias_of.empty())
    return failure{fmt::format("{} is a subscriber already", alias), "to make it an alias, delete it first: skald user del " + alias};
  if (there->alias_of != who.aor) return is_an_alias(*there);
  if (has(who, alias)) return failure{fmt::format("{} is an alias of {} already", alias, who.aor), {}};
  return std::nullopt;
}

} // namespace

failure is_an_alias(const roles::subscriber& signpost) {
  return {fmt::format("{} is an alias of {}", signpost.aor, signpost.alias_of),
          fmt::format("to free it: skald user alias del {} {}", signpost.alias_of, signpost.aor)};
}

void control_routes::with_subscriber(const std::string& aor, respond done, std::move_only_function<void(roles::subscriber, std::uint64_t read, respond)> then) {
  services_.store->fetch(dht::table::subscribers, dht::key_of_aor(aor), [aor, done = std::move(done), then = std::move(then)](dht::fetch_result f) mutable {
    auto found = roles::subscriber_in(f.records);
    if (!found && !f.firm) return done(reply_failure({"no node that must know could be asked", "see: skald members"}, 503));
    if (!found) return done(reply_failure(no_such_user(aor), 404));
    if (!found->alias_of.empty()) return done(reply_failure(is_an_alias(*found), 409));
    then(std::move(*found), roles::condition_in(f.records), std::move(done));
  });
}

void control_routes::edit_subscriber(const std::string& aor, subscriber_edit edit, respond done, std::move_only_function<void(dht::write_result, respond)> then,
                                     unsigned tries) {
  with_subscriber(aor, std::move(done), [this, edit = std::move(edit), then = std::move(then), tries](roles::subscriber who, std::uint64_t read, respond done) mutable {
    edit(who);
    dht::change c = roles::put_subscriber(who);
    c.made_from = read;
    services_.store->put(dht::table::subscribers, dht::key_of_aor(who.aor), {std::move(c)},
                         [this, aor = who.aor, edit = std::move(edit), then = std::move(then), tries, done = std::move(done)](dht::write_result w) mutable {
      if (w.outcome || w.refusal != dht::put_conflict || tries == 0) return then(std::move(w), std::move(done));
      edit_subscriber(aor, std::move(edit), std::move(done), std::move(then), tries - 1);
    });
  });
}

void control_routes::list_aliases(const control_request& r, respond done) {
  const auto aor = aor_of(r.arg("aor"));
  if (!aor) return done(reply_failure(aor.error(), 400));
  with_subscriber(*aor, std::move(done), [](roles::subscriber who, std::uint64_t, respond done) {
    json rows = json::array();
    std::ranges::sort(who.aliases);
    for (const std::string& a : who.aliases) rows.push_back({{"alias", a}, {"aor", who.aor}});
    done(reply_json(rows));
  });
}

void control_routes::add_alias(const control_request& r, respond done) {
  const auto aor = aor_of(r.arg("aor")), alias = aor_of(r.arg("alias"));
  for (const auto* text : {&aor, &alias})
    if (!*text) return done(reply_failure(text->error(), 400));
  if (*aor == *alias) return done(reply_failure({fmt::format("{} cannot be an alias of itself", *aor), {}}, 400));
  if (!services_.facts()->config->serves(roles::domain_of(*alias)))
    return done(reply_failure({fmt::format("{} is not in a domain of this cluster", *alias), "see: skald set domains"}, 400));
  with_subscriber(*aor, std::move(done), [this, alias = *alias](roles::subscriber who, std::uint64_t, respond done) {
    if (!has(who, alias) && who.aliases.size() >= roles::aliases_max)
      return done(reply_failure({fmt::format("{} has {} aliases, and cannot have more", who.aor, who.aliases.size()), {}}, 409));
    services_.store->fetch(dht::table::subscribers, dht::key_of_aor(alias), [this, who = std::move(who), alias, done = std::move(done)](dht::fetch_result f) mutable {
      const auto there = roles::subscriber_in(f.records);
      if (!there && !f.firm) return done(reply_failure({"no node that must know could be asked", "see: skald members"}, 503));
      if (const auto why = taken(who, alias, there)) return done(reply_failure(*why, 409));
      write_alias(std::move(who), alias, roles::condition_in(f.records), std::move(done));
    });
  });
}

// The signpost first: until the list has it too the alias can be called, and not yet be presented. Who else wants this
// name in the same moment is refused by its owner.
void control_routes::write_alias(roles::subscriber who, const std::string& alias, std::uint64_t read, respond done) {
  roles::subscriber sign;
  sign.aor = alias;
  sign.alias_of = who.aor;
  sign.created = now();
  dht::change c = roles::put_subscriber(sign);
  c.made_from = read;
  services_.store->put(dht::table::subscribers, dht::key_of_aor(alias), {std::move(c)}, [this, who = std::move(who), alias, done = std::move(done)](dht::write_result w) mutable {
    if (!w.outcome) return done(reply_write(w, {}));
    const auto add = [alias](roles::subscriber& s) {
      if (!has(s, alias)) s.aliases.push_back(alias);
    };
    edit_subscriber(who.aor, add, std::move(done), [aor = who.aor, alias](dht::write_result written, respond done) {
      done(reply_write(written, {{"added", alias}, {"aor", aor}}));
    });
  });
}

// Out of the list first: from then on it cannot be presented; then the signpost.
void control_routes::delete_alias(const control_request& r, respond done) {
  const auto aor = aor_of(r.arg("aor")), alias = aor_of(r.arg("alias"));
  for (const auto* text : {&aor, &alias})
    if (!*text) return done(reply_failure(text->error(), 400));
  with_subscriber(*aor, std::move(done), [this, alias = *alias](roles::subscriber who, std::uint64_t, respond done) {
    const json answer{{"deleted", alias}, {"aor", who.aor}};
    if (!has(who, alias)) { // or only its signpost is left
      return drop_signposts(who.aor, {alias}, [alias, aor = who.aor, answer, done = std::move(done)](dht::write_result w, std::size_t dropped) mutable {
        if (w.outcome && dropped == 0) return done(reply_failure({fmt::format("{} is not an alias of {}", alias, aor), "see: skald user alias list " + aor}, 404));
        done(reply_write(w, answer));
      });
    }
    const auto take_out = [alias](roles::subscriber& s) { std::erase(s.aliases, alias); };
    edit_subscriber(who.aor, take_out, std::move(done), [this, alias, aor = who.aor, answer](dht::write_result w, respond done) {
      if (!w.outcome) return done(reply_write(w, {}));
      drop_signposts(aor, {alias}, [answer, done = std::move(done)](dht::write_result x, std::size_t) mutable { done(reply_write(x, answer)); });
    });
  });
}

// One after the other; ends at the first that cannot be had. A signpost that leads to somebody else stays.
void control_routes::drop_signposts(const std::string& aor, std::vector<std::string> aliases, signposts_gone done, std::size_t dropped) {
  if (aliases.empty()) return done({std::vector<dht::record>{}}, dropped);
  const ring_key key = dht::key_of_aor(aliases.back());
  aliases.pop_back();
  services_.store->fetch(dht::table::subscribers, key, [this, aor, key, aliases = std::move(aliases), done = std::move(done), dropped](dht::fetch_result f) mutable {
    const auto there = roles::subscriber_in(f.records);
    if (!there && !f.firm) return done({std::unexpected(dht::write_error::not_acknowledged)}, dropped);
    if (!there || there->alias_of != aor) return drop_signposts(aor, std::move(aliases), std::move(done), dropped);
    dht::change c = roles::delete_subscriber();
    c.made_from = roles::condition_in(f.records);
    services_.store->put(dht::table::subscribers, key, {std::move(c)}, [this, aor, aliases = std::move(aliases), done = std::move(done), dropped](dht::write_result w) mutable {
      if (!w.outcome) return done(std::move(w), dropped);
      drop_signposts(aor, std::move(aliases), std::move(done), dropped + 1);
    });
  });
}

} // namespace skald::node
