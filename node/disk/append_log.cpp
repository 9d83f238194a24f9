#include "node/disk/append_log.hpp"

#include "base/encoding.hpp"
#include "base/log.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace skald::node {
namespace {

constexpr std::string_view magic = "skald log 1\n";
constexpr std::size_t head_bytes = 8; // u32 length, u32 crc

constexpr std::array<std::uint32_t, 256> crc_table = [] { // CRC-32C (Castagnoli)
  std::array<std::uint32_t, 256> t{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) != 0 ? 0x82f63b78U : 0U);
    t[i] = c;
  }
  return t;
}();

std::uint32_t crc(std::string_view bytes) {
  std::uint32_t c = ~0U;
  for (const char b : bytes) c = crc_table[(c ^ static_cast<std::uint8_t>(b)) & 0xff] ^ (c >> 8);
  return ~c;
}

std::unexpected<failure> error(const std::string& path, std::string_view what) {
  return std::unexpected(failure{fmt::format("{}: {}: {}", path, what, std::strerror(errno)),
                                 "look for a full or read-only disk"});
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

// Reads exactly n bytes; false at the end of the file or on an error.
bool read_exactly(int fd, std::string& into, std::size_t n) {
  into.resize(n);
  std::size_t got = 0;
  while (got < n) {
    const auto r = ::read(fd, into.data() + got, n - got);
    if (r < 0 && errno == EINTR) continue;
    if (r <= 0) return false;
    got += static_cast<std::size_t>(r);
  }
  return true;
}

bool sync_folder(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool ok = ::fsync(fd) == 0;
  ::close(fd);
  return ok;
}

} // namespace

append_log::handle::~handle() {
  if (fd >= 0) ::close(fd);
}

append_log::append_log(std::string path, handle_ptr file, std::uint64_t size)
    : path_(std::move(path)), file_(std::move(file)), size_(size),
      thread_([this](const std::stop_token& stop) { sync_loop(stop); }) {}

append_log::~append_log() = default;

outcome<std::unique_ptr<append_log>> append_log::open(const std::string& path) {
  auto file = std::make_shared<handle>();
  file->fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file->fd < 0) return error(path, "cannot open");
  struct stat st {};
  if (::fstat(file->fd, &st) != 0) return error(path, "cannot look at");
  auto size = static_cast<std::uint64_t>(st.st_size);
  std::string start;
  if (size < magic.size()) { // new, or torn in its first breath
    if (::ftruncate(file->fd, 0) != 0 || !write_all(file->fd, magic)) return error(path, "cannot write");
    if (!sync_folder(path)) return error(path, "cannot sync the folder of");
    size = magic.size();
  } else if (!read_exactly(file->fd, start, magic.size()) || start != magic) {
    return std::unexpected(failure{path + ": not a log of skald, or of a newer version", "move it away to start without it"});
  }
  ::unlink((path + ".new").c_str()); // a rewriting that did not finish
  return std::unique_ptr<append_log>(new append_log(path, std::move(file), size));
}

outcome<void> append_log::replay(const std::function<void(std::string_view)>& batch) {
  const int fd = file_->fd;
  if (::lseek(fd, static_cast<off_t>(magic.size()), SEEK_SET) < 0) return error(path_, "cannot read");
  std::uint64_t good = magic.size();
  std::string head, body;
  while (read_exactly(fd, head, head_bytes)) {
    const auto length = get_be<std::uint32_t>(head);
    if (length == 0 || length > log_batch_bytes_max || length > size_ - good - head_bytes) break;
    if (!read_exactly(fd, body, length) || crc(body) != get_be<std::uint32_t>(std::string_view(head).substr(4))) break;
    batch(body);
    good += head_bytes + length;
  }
  if (good == size_) return {};
  log::warning("store", fmt::format("{}: {} bytes after the last whole batch are cut off", path_, size_ - good));
  if (::ftruncate(fd, static_cast<off_t>(good)) != 0) return error(path_, "cannot truncate");
  size_ = good;
  return {};
}

outcome<void> append_log::write(handle& to, std::uint64_t& size, std::string_view batch) {
  if (batch.size() > log_batch_bytes_max) return std::unexpected(failure{path_ + ": a batch is too large for the log"});
  std::string bytes;
  bytes.reserve(head_bytes + batch.size());
  put_be(bytes, static_cast<std::uint32_t>(batch.size()));
  put_be(bytes, crc(batch));
  bytes += batch;
  if (!write_all(to.fd, bytes)) {
    auto failed = error(path_, "cannot write");
    // Half a batch in the middle would hide all that follows.
    if (::ftruncate(to.fd, static_cast<off_t>(size)) != 0) log::error("store", path_ + ": cannot cut off a torn batch");
    return failed;
  }
  size += bytes.size();
  return {};
}

outcome<void> append_log::append(std::string_view batch) {
  {
    const std::scoped_lock lock(mutex_);
    if (late_failure_) return std::unexpected(*std::exchange(late_failure_, std::nullopt));
  }
  if (auto r = write(*file_, size_, batch); !r) return r;
  if (next_)
    if (auto r = write(*next_, next_size_, batch); !r) give_up_rewrite(); // only that has failed
  return {};
}

outcome<void> append_log::sync() {
  const std::scoped_lock lock(mutex_);
  due_ = true;
  due_file_ = file_;
  due_next_ = next_;
  wake_.notify_one();
  return {};
}

void append_log::sync_loop(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    handle_ptr file, next;
    {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [this] { return due_; })) return;
      due_ = false;
      file = std::move(due_file_);
      next = std::move(due_next_);
    }
    const bool failed = ::fdatasync(file->fd) != 0;
    auto why = failed ? std::optional(error(path_, "cannot sync").error()) : std::nullopt;
    if (next) ::fdatasync(next->fd); // so that the last one, before it replaces the log, is short
    const std::scoped_lock lock(mutex_);
    if (why) late_failure_ = std::move(why);
  }
}

outcome<void> append_log::begin_rewrite() {
  auto file = std::make_shared<handle>();
  file->fd = ::open(next_path().c_str(), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  if (file->fd < 0) return error(next_path(), "cannot open");
  next_ = std::move(file);
  if (!write_all(next_->fd, magic)) {
    auto failed = error(next_path(), "cannot write");
    give_up_rewrite();
    return failed;
  }
  next_size_ = magic.size();
  return {};
}

outcome<void> append_log::rewrite(std::string_view batch) {
  if (!next_) return std::unexpected(failure{next_path() + ": the rewriting of the log failed"});
  auto r = write(*next_, next_size_, batch);
  if (!r) give_up_rewrite();
  return r;
}

// What it has written would fill a disk that is full as it is.
void append_log::give_up_rewrite() {
  next_.reset();
  ::unlink(next_path().c_str());
}

outcome<void> append_log::finish_rewrite() {
  if (!next_) return std::unexpected(failure{next_path() + ": the rewriting of the log failed"});
  const bool synced = ::fdatasync(next_->fd) == 0;
  if (!synced || ::rename(next_path().c_str(), path_.c_str()) != 0) {
    auto failed = error(next_path(), synced ? "cannot rename" : "cannot sync");
    give_up_rewrite();
    return failed;
  }
  file_ = std::exchange(next_, nullptr);
  size_ = next_size_;
  if (!sync_folder(path_)) return error(path_, "cannot sync the folder of");
  return {};
}

} // namespace skald::node
