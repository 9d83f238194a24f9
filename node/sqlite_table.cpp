#include "node/sqlite_table.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

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

outcome<std::unique_ptr<sqlite_table>> sqlite_table::open(const std::string& path) {
  // Made before SQLite would, which knows no mode: it holds password hashes. Its -wal and -shm copy the mode.
  if (const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600); fd >= 0) ::close(fd);
  std::unique_ptr<sqlite_table> t(new sqlite_table(path));
  sqlite3* db = nullptr;
  const int rc = sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  t->db_.reset(db);
  if (rc != SQLITE_OK) return t->error("cannot open");
  if (auto r = t->prepare(); !r) return std::unexpected(r.error());
  return t;
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

outcome<void> sqlite_table::load(const std::function<void(dht::record&&)>& row) {
  auto s = compile("SELECT tab, key, item, value, hlc, writer, expires, removed FROM records");
  if (!s) return std::unexpected(s.error());
  int rc = SQLITE_ROW;
  while ((rc = sqlite3_step(s->get())) == SQLITE_ROW) {
    auto* at = s->get();
    const int t = sqlite3_column_int(at, 0);
    const auto key = ring_key::from_bytes(blob(at, 1));
    if (!known(t) || !key) continue; // of a newer version: left alone
    row({static_cast<dht::table>(t), *key, std::string(blob(at, 2)), std::string(blob(at, 3)),
         {static_cast<std::uint64_t>(sqlite3_column_int64(at, 4)), static_cast<std::uint64_t>(sqlite3_column_int64(at, 5))},
         sqlite3_column_int64(at, 6), sqlite3_column_int(at, 7) != 0});
  }
  if (rc != SQLITE_DONE) return error("cannot read");
  return {};
}

} // namespace skald::node
