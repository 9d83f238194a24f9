#pragma once
// The durable tables in one SQLite file: WAL, synchronous=FULL, one connection, one transaction per batch. One thread.
#include "dht/store/ports.hpp"

#include <memory>
#include <string>

struct sqlite3;
struct sqlite3_stmt;

namespace skald::node {

class sqlite_table final : public dht::table_store {
public:
  // Opens or makes the file (0600); the folder has to be there.
  static outcome<std::unique_ptr<sqlite_table>> open(const std::string& path);
  ~sqlite_table() override;

  outcome<void> commit(std::span<const dht::record> rows) override;
  outcome<void> erase(partition first, partition last) override;
  // A damaged file is set aside under another name; what can be read of it is taken over, the rest has to come from the
  // other nodes. The log says so.
  outcome<void> load(const std::function<void(dht::record&&)>& row) override;

private:
  struct closes {
    void operator()(sqlite3* db) const;
    void operator()(sqlite3_stmt* s) const;
  };
  using statement = std::unique_ptr<sqlite3_stmt, closes>;

  outcome<void> connect();
  outcome<void> read(sqlite3* from, const std::function<void(dht::record&&)>& row, bool& damaged);
  outcome<void> set_aside(const std::function<void(dht::record&&)>& row);
  bool damaged() const; // by the last error
  explicit sqlite_table(std::string path) : path_(std::move(path)) {}
  outcome<void> prepare();
  outcome<void> run(const char* sql);
  outcome<statement> compile(const char* sql);
  outcome<void> insert(const dht::record& r);
  std::unexpected<failure> error(std::string_view what) const;

  std::string path_;
  std::unique_ptr<sqlite3, closes> db_;
  statement insert_, floor_;
};

} // namespace skald::node
