#pragma once
// The dialogs that pass this worker as an edge: their Contacts, so that nobody uses a token of ours to reach another
// place (the toll hole, sip.md §2), and what goes into the `dialogs` table (§9). One thread.
#include "base/clock.hpp"
#include "roles/core/dialog_record.hpp"

#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace skald::roles {

inline constexpr std::size_t dialogs_remembered_max = 100'000; // a worker; the longest unused goes first
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

  // The entry of that dialog, made if need be.
  entry& touch(std::string_view call_id, std::string_view tag, std::string_view other_tag, mono_time now);
  entry* find(std::string_view call_id, std::string_view tag, std::string_view other_tag);
  void erase(std::string_view call_id, std::string_view tag, std::string_view other_tag);

  // A Contact of that dialog. Text that is no URI is ignored.
  static void saw_contact(entry& e, std::string_view contact_uri);
  // Whether a Contact of that dialog names the host (and port) of this URI.
  static bool has_host_of(const entry& e, std::string_view uri);
  static bool has_host_of(const dialog_record& d, std::string_view uri);

  std::size_t size() const { return order_.size(); }

private:
  std::list<entry> order_; // most recently used first
  std::unordered_map<std::string_view, std::list<entry>::iterator> by_item_;
};

} // namespace skald::roles
