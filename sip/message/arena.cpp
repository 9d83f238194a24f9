#include "sip/message/arena.hpp"

#include <algorithm>
#include <cstring>

namespace skald::sip {

namespace {
constexpr std::size_t chunk_bytes = 1024; // a hop's edits (Via, Record-Route, Route) fit into one
}

text_arena::~text_arena() {
  // Unlinked by hand where we are the last owner: a long chain of copies of copies must not recurse.
  while (head_ && head_.use_count() == 1) head_ = std::move(head_->previous);
}

std::string& text_arena::push(std::string bytes) {
  auto fresh = std::make_shared<chunk>();
  fresh->bytes = std::move(bytes);
  fresh->previous = std::move(head_);
  head_ = std::move(fresh);
  return head_->bytes;
}

std::string& text_arena::adopt(std::string bytes) {
  return push(std::move(bytes)); // the room of an older chunk of ours stays usable: the chain keeps it alive
}

void text_arena::share(const text_arena& other) {
  if (!other.head_ || other.head_ == head_) return;
  if (!head_) {
    head_ = other.head_;
    return;
  }
  auto link = std::make_shared<chunk>();
  link->previous = std::move(head_);
  link->shared = other.head_;
  head_ = std::move(link);
}

std::string_view text_arena::keep(std::string_view text) {
  if (text.empty()) return {};
  if (text.size() > room_) {
    std::string& bytes = push(std::string(std::max(chunk_bytes, text.size()), '\0'));
    tail_ = bytes.data();
    room_ = bytes.size();
  }
  std::memcpy(tail_, text.data(), text.size());
  const std::string_view kept(tail_, text.size());
  tail_ += text.size();
  room_ -= text.size();
  return kept;
}

} // namespace skald::sip
