#pragma once
// The append log of volatile tables in a file: each batch is written at once, so that a killed process loses nothing, and
// fdatasync'd by a thread of its own when asked (each second), so that a slow disk does not stop the loop. Every batch
// has a CRC; what follows the last good one is cut off at the start.
#include "dht/store/ports.hpp"

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace skald::node {

inline constexpr std::size_t log_batch_bytes_max = 64 << 20;

class append_log final : public dht::log_file {
public:
  // Opens or makes the file (0600); the folder has to be there.
  static outcome<std::unique_ptr<append_log>> open(const std::string& path);
  ~append_log() override;

  outcome<void> append(std::string_view batch) override;
  outcome<void> sync() override;
  std::uint64_t size() const override { return size_; }
  outcome<void> replay(const std::function<void(std::string_view)>& batch) override;
  outcome<void> begin_rewrite() override;
  outcome<void> rewrite(std::string_view batch) override;
  outcome<void> finish_rewrite() override;

private:
  struct handle { // shared with the thread, which may be in fdatasync while the log moves on to another file
    int fd = -1;
    ~handle();
  };
  using handle_ptr = std::shared_ptr<handle>;

  append_log(std::string path, handle_ptr file, std::uint64_t size);
  outcome<void> write(handle& to, std::uint64_t& size, std::string_view batch);
  std::string next_path() const { return path_ + ".new"; }
  void give_up_rewrite();
  void sync_loop(const std::stop_token& stop);

  std::string path_;
  handle_ptr file_, next_;
  std::uint64_t size_ = 0, next_size_ = 0;

  std::mutex mutex_; // of what follows
  std::condition_variable_any wake_;
  bool due_ = false;
  handle_ptr due_file_, due_next_;
  std::optional<failure> late_failure_;
  std::jthread thread_; // last: it ends first
};

} // namespace skald::node
