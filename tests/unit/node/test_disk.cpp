// The real disk under the store: the append log and SQLite, with a child process that is killed while it writes.
#include "node/disk/append_log.hpp"
#include "node/disk/small_file.hpp"
#include "node/disk/sqlite_table.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

using namespace skald;
using namespace skald::node;

namespace {

struct folder {
  std::string path;
  folder() {
    char name[] = "/tmp/skald_disk_XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
  }
  ~folder() { std::filesystem::remove_all(path); }
};

std::vector<std::string> replayed(append_log& log) {
  std::vector<std::string> out;
  REQUIRE(log.replay([&](std::string_view b) { out.emplace_back(b); }).has_value());
  return out;
}

dht::record numbered(int i) {
  dht::record r;
  r.table = dht::table::subscribers;
  r.key.bytes[0] = static_cast<std::uint8_t>(i);
  r.key.bytes[1] = static_cast<std::uint8_t>(i >> 8);
  r.value = "value " + std::to_string(i);
  r.version = {static_cast<std::uint64_t>(i) + 1, ~std::uint64_t{0}};
  return r;
}

std::vector<dht::record> loaded(sqlite_table& t) {
  std::vector<dht::record> out;
  REQUIRE(t.load([&](dht::record&& r) { out.push_back(std::move(r)); }).has_value());
  return out;
}

// Runs `work` in a child that tells through a pipe each number that was acknowledged, kills it after a while, and returns
// the highest number told.
template <class F>
int acknowledged_before_kill(int after, F work) {
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(pipe_ends[0]);
    work([&](int i) { return ::write(pipe_ends[1], &i, sizeof i) == sizeof i; });
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  int last = -1, i = 0;
  bool killed = false;
  while (::read(pipe_ends[0], &i, sizeof i) == sizeof i) {
    last = i;
    if (!killed && i >= after) {
      ::kill(child, SIGKILL);
      killed = true;
    }
  }
  ::close(pipe_ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  return last;
}

} // namespace

TEST_CASE("append log: what was appended is there after opening again, and only its owner may read it") {
  const folder f;
  const auto path = f.path + "/volatile.log";
  {
    auto log = append_log::open(path);
    REQUIRE(log.has_value());
    REQUIRE((*log)->append("one").has_value());
    REQUIRE((*log)->append(std::string(100'000, 'x')).has_value());
    REQUIRE((*log)->sync().has_value());
  }
  auto log = append_log::open(path);
  REQUIRE(log.has_value());
  const auto batches = replayed(**log);
  REQUIRE(batches.size() == 2);
  CHECK(batches[0] == "one");
  CHECK(batches[1].size() == 100'000);
  struct stat st {};
  REQUIRE(::stat(path.c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0600);
  CHECK(static_cast<std::uint64_t>(st.st_size) == (*log)->size());
}

TEST_CASE("append log: a torn or damaged end is cut at the last good batch, wherever it is torn") {
  const folder f;
  const auto path = f.path + "/volatile.log";
  std::uint64_t whole = 0;
  {
    auto log = append_log::open(path);
    REQUIRE((*log)->append("first").has_value());
    whole = (*log)->size();
    REQUIRE((*log)->append("second").has_value());
  }
  const auto full = std::filesystem::file_size(path);
  for (auto size = whole; size < full; ++size) {
    std::filesystem::resize_file(path, size);
    auto log = append_log::open(path);
    REQUIRE(log.has_value());
    CHECK(replayed(**log) == std::vector<std::string>{"first"});
    REQUIRE((*log)->append("second").has_value());
    CHECK(replayed(**log) == std::vector<std::string>{"first", "second"});
  }
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('!');
  }
  auto log = append_log::open(path);
  CHECK(replayed(**log) == std::vector<std::string>{"first"});
  std::filesystem::resize_file(path, 5); // torn in the magic
  auto again = append_log::open(path);
  REQUIRE(again.has_value());
  CHECK(replayed(**again).empty());
}

TEST_CASE("append log: a foreign file is refused, not overwritten") {
  const folder f;
  const auto path = f.path + "/volatile.log";
  std::ofstream(path) << "this is somebody's letter\n";
  auto log = append_log::open(path);
  REQUIRE_FALSE(log.has_value());
  CHECK(log.error().what.find("not a log") != std::string::npos);
  CHECK(std::filesystem::file_size(path) == 26);
}

TEST_CASE("append log: rewriting keeps what is appended meanwhile, and an unfinished one leaves the old log") {
  const folder f;
  const auto path = f.path + "/volatile.log";
  {
    auto log = append_log::open(path);
    for (int i = 0; i < 100; ++i) REQUIRE((*log)->append("old").has_value());
    REQUIRE((*log)->begin_rewrite().has_value());
    REQUIRE((*log)->rewrite("live").has_value());
    REQUIRE((*log)->append("meanwhile").has_value());
    const auto before = (*log)->size();
    REQUIRE((*log)->finish_rewrite().has_value());
    CHECK((*log)->size() < before);
    REQUIRE((*log)->append("after").has_value());
    REQUIRE((*log)->begin_rewrite().has_value());
    REQUIRE((*log)->rewrite("half").has_value());
  }
  auto log = append_log::open(path);
  CHECK(replayed(**log) == std::vector<std::string>{"live", "meanwhile", "after"});
  CHECK_FALSE(std::filesystem::exists(path + ".new"));
}

TEST_CASE("append log: a rewriting for which there is no room gives back what it took, and the log goes on") {
  const folder f;
  const auto path = f.path + "/volatile.log";
  auto log = append_log::open(path);
  REQUIRE((*log)->append("old").has_value());
  REQUIRE((*log)->begin_rewrite().has_value());
  rlimit whole{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &whole) == 0);
  const rlimit little{4096, whole.rlim_max};
  auto* const before = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &little) == 0);
  CHECK_FALSE((*log)->rewrite(std::string(8192, 'x')).has_value());
  CHECK_FALSE(std::filesystem::exists(path + ".new"));
  REQUIRE((*log)->append("on").has_value());
  REQUIRE((*log)->begin_rewrite().has_value());
  for (int i = 0; i < 3; ++i) CHECK((*log)->rewrite(std::string(1000, 'y')).has_value());
  REQUIRE((*log)->append(std::string(1100, 'z')).has_value()); // fits into the log, not into the new one
  CHECK_FALSE(std::filesystem::exists(path + ".new"));
  ::setrlimit(RLIMIT_FSIZE, &whole);
  std::signal(SIGXFSZ, before);
  CHECK(replayed(**log) == std::vector<std::string>{"old", "on", std::string(1100, 'z')});
}

TEST_CASE("append log: killed while it writes, nothing that was acknowledged is missing") {
  const folder f;
  const auto path = f.path + "/volatile.log";
  const int last = acknowledged_before_kill(2000, [&](auto tell) {
    auto log = append_log::open(path);
    for (int i = 0;; ++i) {
      if (!(*log)->append("batch " + std::to_string(i)) || !tell(i)) return;
      if (i % 500 == 0) (void)(*log)->sync();
    }
  });
  REQUIRE(last >= 2000);
  auto log = append_log::open(path);
  REQUIRE(log.has_value());
  const auto batches = replayed(**log);
  REQUIRE(static_cast<int>(batches.size()) > last);
  for (int i = 0; i <= last; ++i) CHECK(batches[static_cast<std::size_t>(i)] == "batch " + std::to_string(i));
}

TEST_CASE("sqlite table: rows come back as they went in, and a later one replaces the former") {
  const folder f;
  const auto path = f.path + "/durable.db";
  dht::record a = numbered(1), b = numbered(2), c = numbered(3);
  b.item = std::string("bytes\0inside", 12);
  b.removed = true;
  b.value.clear();
  c.table = dht::table::settings;
  c.expires = 1'800'000'000'000;
  {
    auto t = sqlite_table::open(path);
    REQUIRE(t.has_value());
    dht::record former = a;
    former.value = "former";
    const auto done = (*t)->commit(std::vector{former, b, c});
    REQUIRE_MESSAGE(done.has_value(), done.error().what);
    REQUIRE((*t)->commit(std::vector{a}).has_value());
  }
  auto t = sqlite_table::open(path);
  const auto rows = loaded(**t);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0] == a);
  CHECK(rows[1] == b);
  CHECK(rows[2] == c);
  struct stat st {};
  REQUIRE(::stat(path.c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0600);
}

TEST_CASE("sqlite table: killed while it writes, nothing that was acknowledged is missing") {
  const folder f;
  const auto path = f.path + "/durable.db";
  const int last = acknowledged_before_kill(200, [&](auto tell) {
    auto t = sqlite_table::open(path);
    for (int i = 0;; i += 10) {
      std::vector<dht::record> rows;
      for (int j = i; j < i + 10; ++j) rows.push_back(numbered(j));
      if (!(*t)->commit(rows) || !tell(i + 9)) return;
    }
  });
  REQUIRE(last >= 200);
  auto t = sqlite_table::open(path);
  REQUIRE(t.has_value());
  const auto rows = loaded(**t);
  CHECK(static_cast<int>(rows.size()) > last);
  CHECK(rows.size() % 10 == 0); // a batch is whole or not there
}

TEST_CASE("sqlite table: a folder that is not there is an error with the file's name") {
  auto t = sqlite_table::open("/nonexistent/durable.db");
  REQUIRE_FALSE(t.has_value());
  CHECK(t.error().what.find("/nonexistent/durable.db") != std::string::npos);
}

namespace {

dht::record row_of(int key, std::string item, unix_ms time, bool removed = false) {
  dht::record r;
  r.table = dht::table::subscribers;
  r.key.bytes[0] = static_cast<std::uint8_t>(key >> 8);
  r.key.bytes[1] = static_cast<std::uint8_t>(key);
  r.key.bytes[19] = 7;
  r.item = std::move(item);
  if (!removed) r.value = "value";
  r.version = {static_cast<std::uint64_t>(time) << 16, 1};
  r.removed = removed;
  return r;
}

std::vector<std::string> items_of(sqlite_table& t) {
  std::vector<std::string> out;
  REQUIRE(t.load([&](dht::record&& r) { out.push_back(r.item); }).has_value());
  std::ranges::sort(out);
  return out;
}

} // namespace

TEST_CASE("sqlite: with a floor go all older rows of its key, and no others") {
  const folder f;
  auto t = sqlite_table::open(f.path + "/durable.db");
  REQUIRE(t.has_value());
  REQUIRE((*t)->commit(std::vector{row_of(1, "old", 10), row_of(1, "new", 30), row_of(2, "other", 10)}).has_value());
  REQUIRE((*t)->commit(std::vector{row_of(1, std::string(dht::floor_item), 20, true)}).has_value());
  CHECK(items_of(**t) == std::vector<std::string>{std::string(dht::floor_item), "new", "other"});
}

TEST_CASE("sqlite: dropped partitions are gone after opening again, those beside them are not") {
  const folder f;
  {
    auto t = sqlite_table::open(f.path + "/durable.db");
    REQUIRE(t.has_value());
    std::vector<dht::record> rows;
    for (int p = 254; p < 260; ++p) rows.push_back(row_of(p, std::to_string(p), 10));
    REQUIRE((*t)->commit(rows).has_value());
    REQUIRE((*t)->erase(partition{255}, partition{257}).has_value());
  }
  auto t = sqlite_table::open(f.path + "/durable.db");
  CHECK(items_of(**t) == std::vector<std::string>{"254", "258", "259"});
}

TEST_CASE("sqlite: a damaged file is set aside, what can be read of it is kept, and the table works on") {
  for (const bool all : {true, false}) {
    const folder f;
    const auto path = f.path + "/durable.db";
    {
      auto t = sqlite_table::open(path);
      std::vector<dht::record> rows;
      for (int i = 0; i < 2000; ++i) rows.push_back(row_of(i, "item", 10));
      REQUIRE((*t)->commit(rows).has_value());
    }
    {
      const auto size = std::filesystem::file_size(path);
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(all ? 0 : static_cast<std::streamoff>(size / 2 / 4096 * 4096));
      file << std::string(8192, '\x5a');
    }
    auto t = sqlite_table::open(path);
    REQUIRE(t.has_value());
    std::size_t read = 0;
    REQUIRE((*t)->load([&](dht::record&&) { ++read; }).has_value());
    CHECK((all ? read == 0 : read > 0));
    int aside = 0;
    for (const auto& e : std::filesystem::directory_iterator(f.path)) aside += e.path().filename().string().find(".damaged-") != std::string::npos;
    CHECK(aside >= 1);
    REQUIRE((*t)->commit(std::vector{row_of(9, "new", 20)}).has_value());
    t->reset();
    auto again = sqlite_table::open(path);
    REQUIRE(again.has_value());
    const auto kept = items_of(**again);
    CHECK(std::ranges::count(kept, "new") == 1);
    if (!all) CHECK(kept.size() > 1);
  }
}

TEST_CASE("small file: what was saved last is there, nothing is nothing") {
  const folder f;
  small_file file(f.path + "/sources");
  CHECK(file.load().value() == "");
  REQUIRE(file.save(std::string("one\0two", 7)).has_value());
  REQUIRE(file.save(std::string("three\0", 6)).has_value());
  CHECK(file.load().value() == std::string("three\0", 6));
}
