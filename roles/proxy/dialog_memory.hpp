#pragma once
// The dialogs that pass this node as an edge: their Contacts, so that nobody uses a token of ours to reach another
// place (the toll hole, sip.md §2), and what goes into the `dialogs` table (§9). One per node: the two directions of a
// dialog may come to different workers. Striped; any thread.
#include "base/clock.hpp"
#include "base/guarded.hpp"
#include "roles/core/dialog_record.hpp"

#include <array>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace skald::roles {

inline constexpr std::size_t dialog_memory_stripes = 64;
inline constexpr std::size_t dialogs_remembered_max = 640'000; // a node; in each stripe the longest unused goes first
inline constexpr std::size_t hosts_per_dialog_max = 8;

class dialog_memory {
public:
  struct entry {
    std::string item;
    dialog_record record;
    std::vector<std::string> hosts; // "host:port" of each Contact seen, lower case
    mono_time used{};
    bool written = false; // this edge has put it into the table
  };

  // Runs `f(entry&)` on the entry of that dialog, made if need be, and returns it as it is then. `f` runs under a lock.
  template <class F>
  entry update(std::string_view call_id, std::string_view tag, std::string_view other_tag, mono_time now, F&& f) {
    const std::string item = dialog_item(call_id, tag, other_tag);
    return of(item).with([&](stripe& s) {
      entry& e = touch(s, item, call_id, now);
      std::forward<F>(f)(e);
      return e;
    });
  }
  std::optional<entry> find(std::string_view call_id, std::string_view tag, std::string_view other_tag);
  bool has(std::string_view item) const;
  std::optional<entry> find_item(std::string_view item) const; // does not count as a use
  // Removes it.
  std::optional<entry> take(std::string_view call_id, std::string_view tag, std::string_view other_tag);

  // A Contact of that dialog. Text that is no URI is ignored.
  static void saw_contact(entry& e, std::string_view contact_uri);
  // Whether a Contact of that dialog names the host (and port) of this URI.
  static bool has_host_of(const entry& e, std::string_view uri);
  static bool has_host_of(const dialog_record& d, std::string_view uri);

  std::size_t size() const;

private:
  struct stripe {
    std::list<entry> order; // most recently used first
    std::unordered_map<std::string_view, std::list<entry>::iterator> by_item;
  };
  static entry& touch(stripe& s, const std::string& item, std::string_view call_id, mono_time now);
  static std::size_t place_of(std::string_view item) { return std::hash<std::string_view>{}(item) % dialog_memory_stripes; }
  guarded<stripe>& of(std::string_view item) { return stripes_[place_of(item)]; }
  const guarded<stripe>& of(std::string_view item) const { return stripes_[place_of(item)]; }

  std::array<guarded<stripe>, dialog_memory_stripes> stripes_;
};

} // namespace skald::roles
