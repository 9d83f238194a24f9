#include "node/disk/sqlite_table.hpp"

#include "base/log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <ctime>
#include <unistd.h>
#include <vector>

namespace skald::node {
namespace {

constexpr int schema_version = 1; // PRAGMA user_version

void bind_bytes(sqlite3_stmt* s, int at, std::string_view bytes) {
  // A null pointer would bind NULL, which a primary key must not be.
  sqlite3_bind_blob64(s, at, bytes.empty() ? "" : bytes.data(), bytes.size(), SQLITE_STATIC);
}

std::string_view blob(sqlite3_stmt* s, int at) {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(s, at));
  return {data == nullptr ? "" : data, static_cast<std::size_t>(sqlite3_column_bytes(s, at))};
}

bool known(int t) {
  for (const auto each : dht::all_tables)
    if (static_cast<int>(each) == t) return true;
  return false;
}

} // namespace

void sqlite_table::closes::operator()(sqlite3* db) const { sqlite3_close(db); }
void sqlite_table::closes::operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }

sqlite_table::~sqlite_table() = default;

std::unexpected<failure> sqlite_table::error(std::string_view what) const {
  return std::unexpected(failure{fmt::format("{}: {}: {}", path_, what, db_ ? sqlite3_errmsg(db_.get()) : "no memory"),
                                 "look for a full or read-only disk"});
}

bool sqlite_table::damaged() const {
  const int rc = db_ ? sqlite3_errcode(db_.get()) & 0xff : SQLITE_OK;
  return rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB;
}

outcome<std::unique_ptr<sqlite_table>> sqlite_table::open(const std::string& path) {
  std::unique_ptr<sqlite_table> t(new sqlite_table(path));
  auto up = t->connect();
  if (!up && t->damaged()) up = t->set_aside([](dht::record&&) {});
  if (!up) return std::unexpected(up.error());
  return t;
}

outcome<void> sqlite_table::connect() {
  // Made before SQLite would, which knows no mode: it holds password hashes. Its -wal and -shm copy the mode.
  if (const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600); fd >= 0) ::close(fd);
  sqlite3* db = nullptr;
  const int rc = sqlite3_open_v2(path_.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  insert_.reset();
  floor_.reset();
  db_.reset(db);
  if (rc != SQLITE_OK) return error("cannot open");
  return prepare();
}

// What is read of the damaged file goes to the new one at once: it may be the last copy.
outcome<void> sqlite_table::set_aside(const std::function<void(dht::record&&)>& row) {
  insert_.reset();
  floor_.reset();
  db_.reset();
  const std::string aside = fmt::format("{}.damaged-{}", path_, ::time(nullptr));
  for (const char* end : {"", "-wal", "-shm"})
    if (::rename((path_ + end).c_str(), (aside + end).c_str()) != 0 && *end == 0)
      return std::unexpected(failure{path_ + ": damaged, and cannot be renamed", "move it away"});
  if (auto up = connect(); !up) return up;
  std::vector<dht::record> saved;
  sqlite3* old = nullptr;
  bool torn = false;
  if (sqlite3_open_v2(aside.c_str(), &old, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr) == SQLITE_OK)
    (void)read(old, [&](dht::record&& r) { saved.push_back(std::move(r)); }, torn);
  sqlite3_close(old);
  log::error("store", fmt::format("{} is damaged: it is set aside as {}; {} rows could be read, the rest has to come from the other nodes",
                                  path_, aside, saved.size()));
  if (auto kept = commit(saved); !kept) return kept;
  for (auto& r : saved) row(std::move(r));
  return {};
}

outcome<void> sqlite_table::prepare() {
  sqlite3_busy_timeout(db_.get(), 2000);
  for (const char* sql : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA cache_size=-8192"})
    if (auto r = run(sql); !r) return r;
  {
    auto version = compile("PRAGMA user_version");
    if (!version) return std::unexpected(version.error());
    if (sqlite3_step(version->get()) != SQLITE_ROW) return error("cannot read");
    if (sqlite3_column_int(version->get(), 0) > schema_version)
      return std::unexpected(failure{path_ + ": written by a newer version of skald", "run that version"});
  }
  auto made = run("CREATE TABLE IF NOT EXISTS records (tab INTEGER NOT NULL, key BLOB NOT NULL, item BLOB NOT NULL,"
                  " value BLOB NOT NULL, hlc INTEGER NOT NULL, writer INTEGER NOT NULL, expires INTEGER NOT NULL,"
                  " removed INTEGER NOT NULL, PRIMARY KEY (tab, key, item)) WITHOUT ROWID");
  if (!made) return made;
  if (auto r = run(fmt::format("PRAGMA user_version={}", schema_version).c_str()); !r) return r;
  auto s = compile("INSERT INTO records (tab, key, item, value, hlc, writer, expires, removed)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (tab, key, item) DO UPDATE SET value=?4, hlc=?5,"
                   " writer=?6, expires=?7, removed=?8");
  if (!s) return std::unexpected(s.error());
  insert_ = std::move(*s);
  auto f = compile("DELETE FROM records WHERE tab=?1 AND key=?2 AND hlc<?3");
  if (!f) return std::unexpected(f.error());
  floor_ = std::move(*f);
  return {};
}

outcome<void> sqlite_table::run(const char* sql) {
  if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error("cannot write");
  return {};
}

outcome<sqlite_table::statement> sqlite_table::compile(const char* sql) {
  sqlite3_stmt* s = nullptr;
  if (sqlite3_prepare_v2(db_.get(), sql, -1, &s, nullptr) != SQLITE_OK) return error("cannot read");
  return statement(s);
}

outcome<void> sqlite_table::insert(const dht::record& r) {
  auto* s = insert_.get();
  sqlite3_bind_int(s, 1, static_cast<int>(r.table));
  bind_bytes(s, 2, r.key.view());
  bind_bytes(s, 3, r.item);
  bind_bytes(s, 4, r.value);
  sqlite3_bind_int64(s, 5, static_cast<sqlite3_int64>(r.version.hlc));
  sqlite3_bind_int64(s, 6, static_cast<sqlite3_int64>(r.version.writer));
  sqlite3_bind_int64(s, 7, r.expires);
  sqlite3_bind_int(s, 8, r.removed ? 1 : 0);
  const bool ok = sqlite3_step(s) == SQLITE_DONE;
  auto failed = ok ? std::unexpected(failure{}) : error("cannot write");
  sqlite3_reset(s);
  sqlite3_clear_bindings(s);
  if (!ok) return failed;
  if (r.item != dht::floor_item) return {};
  // A row of the very same time stays, and is killed again when it is read: by the writer only a merge decides.
  sqlite3_bind_int(floor_.get(), 1, static_cast<int>(r.table));
  bind_bytes(floor_.get(), 2, r.key.view());
  sqlite3_bind_int64(floor_.get(), 3, static_cast<sqlite3_int64>(r.version.hlc));
  const bool swept = sqlite3_step(floor_.get()) == SQLITE_DONE;
  auto unswept = swept ? std::unexpected(failure{}) : error("cannot delete");
  sqlite3_reset(floor_.get());
  sqlite3_clear_bindings(floor_.get());
  if (!swept) return unswept;
  return {};
}

outcome<void> sqlite_table::commit(std::span<const dht::record> rows) {
  if (auto r = run("BEGIN IMMEDIATE"); !r) return r;
  for (const auto& row : rows)
    if (auto r = insert(row); !r) {
      (void)run("ROLLBACK");
      return r;
    }
  if (auto r = run("COMMIT"); !r) {
    (void)run("ROLLBACK");
    return r;
  }
  return {};
}

outcome<void> sqlite_table::erase(partition first, partition last) {
  const auto bound = [](partition p, char fill) {
    std::string key(20, fill);
    key[0] = static_cast<char>(static_cast<std::uint16_t>(p) >> 8);
    key[1] = static_cast<char>(static_cast<std::uint16_t>(p));
    return key;
  };
  auto s = compile("DELETE FROM records WHERE tab=?1 AND key BETWEEN ?2 AND ?3");
  if (!s) return std::unexpected(s.error());
  if (auto r = run("BEGIN IMMEDIATE"); !r) return r;
  const auto from = bound(first, '\0'), to = bound(last, '\xff');
  for (const auto t : dht::all_tables) {
    if (!dht::is_durable(t)) continue;
    sqlite3_bind_int(s->get(), 1, static_cast<int>(t));
    bind_bytes(s->get(), 2, from);
    bind_bytes(s->get(), 3, to);
    if (sqlite3_step(s->get()) != SQLITE_DONE) {
      auto failed = error("cannot delete");
      sqlite3_reset(s->get());
      (void)run("ROLLBACK");
      return failed;
    }
    sqlite3_reset(s->get());
  }
  auto done = run("COMMIT");
  if (!done) (void)run("ROLLBACK"); // or no later one could begin
  return done;
}

outcome<void> sqlite_table::load(const std::function<void(dht::record&&)>& row) {
  bool torn = false;
  auto all = read(db_.get(), row, torn);
  if (all || !torn) return all;
  return set_aside(row); // rows that came before come again: a merge takes each once
}

outcome<void> sqlite_table::read(sqlite3* from, const std::function<void(dht::record&&)>& row, bool& torn) {
  sqlite3_stmt* prepared = nullptr;
  const auto judge = [&](int rc) {
    torn = (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
    return std::unexpected(failure{fmt::format("{}: cannot read: {}", path_, sqlite3_errmsg(from)), "look for a failing disk"});
  };
  const char* sql = "SELECT tab, key, item, value, hlc, writer, expires, removed FROM records";
  if (const int rc = sqlite3_prepare_v2(from, sql, -1, &prepared, nullptr); rc != SQLITE_OK) return judge(rc);
  const statement s(prepared);
  int rc = SQLITE_ROW;
  while ((rc = sqlite3_step(s.get())) == SQLITE_ROW) {
    auto* at = s.get();
    const int t = sqlite3_column_int(at, 0);
    const auto key = ring_key::from_bytes(blob(at, 1));
    if (!known(t) || !key) continue; // of a newer version: left alone
    row({static_cast<dht::table>(t), *key, std::string(blob(at, 2)), std::string(blob(at, 3)),
         {static_cast<std::uint64_t>(sqlite3_column_int64(at, 4)), static_cast<std::uint64_t>(sqlite3_column_int64(at, 5))},
         sqlite3_column_int64(at, 6), sqlite3_column_int(at, 7) != 0});
  }
  if (rc != SQLITE_DONE) return judge(rc);
  return {};
}

} // namespace skald::node
