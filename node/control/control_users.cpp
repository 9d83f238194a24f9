#include "node/control/control_routes.hpp"
#include "roles/core/import_csv.hpp"
#include "roles/core/subscriber.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace skald::node {

using nlohmann::json;

namespace {

struct credentials {
  std::string aor, password;
};

outcome<credentials> read_credentials(const control_request& r) {
  const json body = json::parse(r.body, nullptr, false);
  const auto text = [&](const char* key) { return body.is_object() && body.contains(key) && body[key].is_string() ? body[key].get<std::string>() : std::string{}; };
  credentials out{text("aor"), text("password")};
  if (const auto good = roles::check_password(out.password); !good) return std::unexpected(good.error());
  return out;
}

failure not_served(const std::string& aor) {
  return {fmt::format("{} is not in a domain of this cluster", aor), "see: skald set domains"};
}

} // namespace

void control_routes::list_users(const control_request&, respond done) { ask_all("users", "aor", std::move(done)); }

// Add and passwd: one reads what is there first, so that neither does the other's work by mistake.
void control_routes::add_user(const control_request& r, respond done) {
  const auto given = read_credentials(r);
  if (!given) return done(reply_failure(given.error(), 400));
  const auto aor = aor_of(given->aor);
  if (!aor) return done(reply_failure(aor.error(), 400));
  if (!services_.facts()->config->serves(roles::domain_of(*aor))) return done(reply_failure(not_served(*aor), 400));
  const ring_key key = dht::key_of_aor(*aor);
  services_.store->fetch(dht::table::subscribers, key, [this, key, aor = *aor, password = given->password, done = std::move(done)](dht::fetch_result f) mutable {
    const auto there = roles::subscriber_in(f.records);
    if (there && !there->alias_of.empty()) return done(reply_failure(is_an_alias(*there), 409));
    if (there) return done(reply_failure({fmt::format("{} exists already", aor), "change it with: skald user passwd " + aor}, 409));
    if (!f.firm) return done(reply_failure({"no node that must know could be asked", "see: skald members"}, 503));
    dht::change c = roles::put_subscriber(roles::make_subscriber(aor, password, now()));
    c.made_from = roles::condition_in(f.records); // two at once: one of them is told
    services_.store->put(dht::table::subscribers, key, {std::move(c)}, [aor, done = std::move(done)](dht::write_result w) mutable {
      if (!w.outcome && w.refusal == dht::put_conflict)
        return done(reply_failure({fmt::format("{} exists already", aor), "change it with: skald user passwd " + aor}, 409));
      done(reply_write(w, {{"added", aor}}));
    });
  });
}

void control_routes::change_password(const control_request& r, respond done) {
  const auto given = read_credentials(r);
  if (!given) return done(reply_failure(given.error(), 400));
  const auto aor = aor_of(given->aor);
  if (!aor) return done(reply_failure(aor.error(), 400));
  const auto set = [password = given->password](roles::subscriber& s) { roles::set_password(s, password); };
  edit_subscriber(*aor, set, std::move(done), [aor = *aor](dht::write_result w, respond done) { done(reply_write(w, {{"changed", aor}})); });
}

void control_routes::delete_user(const control_request& r, respond done) {
  const auto aor = aor_of(r.arg("aor"));
  if (!aor) return done(reply_failure(aor.error(), 400));
  with_subscriber(*aor, std::move(done), [this](roles::subscriber who, std::uint64_t, respond done) {
    // The signposts first: while his record stands the command can be given again, and finds those that are left.
    drop_signposts(who.aor, who.aliases, [this, aor = who.aor, done = std::move(done)](dht::write_result w, std::size_t) mutable {
      if (!w.outcome) return done(reply_write(w, {}));
      delete_record(aor, std::move(done));
    });
  });
}

void control_routes::delete_record(const std::string& aor, respond done) {
  const ring_key key = dht::key_of_aor(aor);
  // Floors: what another node may hold, on the far side of a cut or in an old log, goes too.
  services_.store->put(dht::table::subscribers, key, {dht::remove_all()}, [this, key, aor, done = std::move(done)](dht::write_result w) mutable {
    if (!w.outcome) return done(reply_write(w, {}));
    // Its bindings go with it: a deleted subscriber must not ring.
    services_.store->put(dht::table::bindings, key, {dht::remove_all()}, [aor, done = std::move(done)](dht::write_result x) mutable { done(reply_write(x, {{"deleted", aor}})); });
  });
}

// One chunk of whole lines. Rows are written side by side, at most import_window under way, and the answer names each
// row that was refused: nothing is lost silently.
namespace {

constexpr std::size_t import_window = 512;
constexpr unsigned import_tries_max = 5; // of a row that was not acknowledged: owners change, and writes repeat harmlessly
constexpr seconds import_patience{40};   // no row of a chunk is tried again later; control_wait is longer

struct import_job : std::enable_shared_from_this<import_job> {
  struct one {
    roles::import_row row;
    unsigned tries = 0, meetings = 0;
    std::uint64_t made_from = dht::made_from_nothing;
  };
  dht::store* store = nullptr;
  const clock* time = nullptr;
  mono_time until{};
  std::vector<one> rows;
  std::vector<std::size_t> again;
  std::size_t next = 0, under_way = 0;
  std::uint64_t imported = 0;
  json bad = json::array();
  control_routes::respond done;
  bool pumping = false; // put() may answer at once: then the loop below goes on, not a deeper one

  bool more() const { return next < rows.size() || !again.empty(); }

  void pump() {
    if (pumping) return;
    pumping = true;
    while (more() && under_way < import_window) {
      std::size_t index = next;
      if (next < rows.size()) ++next;
      else index = again.back(), again.pop_back();
      one& it = rows[index];
      ++it.tries;
      ++under_way;
      write(index);
    }
    pumping = false;
    if (!more() && under_way == 0 && done) {
      auto tell = std::move(done);
      done = nullptr;
      tell(reply_json({{"imported", imported}, {"bad", bad}}));
    }
  }

  void write(std::size_t index) {
    dht::change c = roles::put_subscriber(rows[index].row.who);
    c.made_from = rows[index].made_from;
    store->put(dht::table::subscribers, dht::key_of_aor(rows[index].row.who.aor), {std::move(c)},
               [self = shared_from_this(), index](dht::write_result w) { self->written(index, w); });
  }

  // Who is there already gets the new password, and keeps all else: his aliases are known by more than this record.
  void meet(std::size_t index) {
    store->fetch(dht::table::subscribers, dht::key_of_aor(rows[index].row.who.aor), [self = shared_from_this(), index](dht::fetch_result f) {
      one& it = self->rows[index];
      const auto there = roles::subscriber_in(f.records);
      if (there && !there->alias_of.empty()) return self->refuse(index, is_an_alias(*there).what);
      it.made_from = roles::condition_in(f.records);
      if (there) {
        it.row.who.aliases = there->aliases;
        it.row.who.present_any = there->present_any;
        it.row.who.created = there->created;
      }
      self->write(index);
    });
  }

  void refuse(std::size_t index, std::string why) {
    --under_way;
    bad.push_back({{"line", rows[index].row.line}, {"error", std::move(why)}});
    pump();
  }

  void written(std::size_t index, const dht::write_result& w) {
    if (!w.outcome && w.refusal == dht::put_conflict && rows[index].meetings++ < import_tries_max) return meet(index);
    --under_way;
    const one& it = rows[index];
    if (w.outcome) ++imported;
    else if (it.tries < import_tries_max && time->now() < until) again.push_back(index);
    else bad.push_back({{"line", it.row.line}, {"error", "not stored: no acknowledgement from enough nodes; import the row again"}});
    pump();
  }
};

} // namespace

void control_routes::import_users(const control_request& r, respond done) {
  const auto config = services_.facts()->config;
  const std::size_t first_line = std::max<std::size_t>(2, std::strtoull(r.arg("line").c_str(), nullptr, 10));
  roles::csv_import reader(config->default_domain, [config](std::string_view d) { return config->serves(d); }, now());
  auto job = std::make_shared<import_job>();
  job->store = services_.store;
  job->time = services_.time;
  job->until = job->time->now() + import_patience;
  job->done = std::move(done);
  roles::import_result parsed = roles::import_csv(r.body, reader);
  // Line 1 of each chunk is the header that the sender repeats: the file's own numbers are what a person needs.
  const auto in_file = [&](std::size_t line) { return line <= 1 ? std::size_t{1} : line - 2 + first_line; };
  for (const roles::import_error& e : parsed.errors) job->bad.push_back({{"line", in_file(e.line)}, {"error", e.what}});
  for (roles::import_row& row : parsed.rows) {
    row.line = in_file(row.line);
    job->rows.push_back({std::move(row)});
  }
  if (reader.hopeless()) return job->done(reply_failure({"the header line is not understood", "it must be aor,password or aor,ha1-md5[,ha1-sha256]"}, 400));
  job->pump();
}

} // namespace skald::node
