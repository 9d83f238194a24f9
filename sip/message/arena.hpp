#pragma once
// The bytes behind a message's views. Chunks never move and are shared by copies; what a message writes goes to a chunk
// that only it appends to. A copy starts without such a chunk, so two copies append independently, on any threads.
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace skald::sip {

class text_arena {
public:
  text_arena() = default;
  text_arena(const text_arena& other) : head_(other.head_) {}
  text_arena(text_arena&& other) noexcept
      : head_(std::move(other.head_)), tail_(std::exchange(other.tail_, nullptr)), room_(std::exchange(other.room_, 0)) {}
  text_arena& operator=(text_arena other) noexcept {
    head_.swap(other.head_);
    std::swap(tail_, other.tail_);
    std::swap(room_, other.room_);
    return *this;
  }
  ~text_arena();

  // Takes the bytes over without copying. The reference may be written through until the arena is copied.
  std::string& adopt(std::string bytes);
  // A copy of `text` that lives as long as this arena or any copy of it made later.
  std::string_view keep(std::string_view text);

  // From now on the bytes of `other` live as long as this one, too.
  void share(const text_arena& other);

private:
  struct chunk {
    std::shared_ptr<chunk> previous;
    std::shared_ptr<chunk> shared; // another arena's chain
    std::string bytes;
  };
  std::string& push(std::string bytes);

  std::shared_ptr<chunk> head_;
  char* tail_ = nullptr; // free room at the end of a chunk of ours
  std::size_t room_ = 0;
};

} // namespace skald::sip
