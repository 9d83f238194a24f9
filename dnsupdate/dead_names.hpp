#pragma once
// The names of nodes that died or left: Record-Route in running dialogs names them still, so for a while they lead to
// others (sip.md §2, §10). Who saw a node die tells those that start later by the cluster's durable state: one record a
// name, in the table of settings under the zone's own key, which the publisher owns and its heir holds a copy of. Records
// of their own, because the two sides of a split then lose nothing of each other's. No I/O; one thread.
#include "base/clock.hpp"
#include "dht/store/store.hpp"
#include "dht/view/view.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace skald::dnsupdate {

inline constexpr milliseconds dead_name_time = std::chrono::hours(7 * 24);
inline constexpr std::size_t dead_names_max = 1024;              // the oldest go first
inline constexpr std::size_t dead_names_written_at_once = 256;
inline constexpr duration dead_names_read_every = seconds(60);
inline constexpr duration dead_names_read_again = seconds(5);     // after an answer in doubt, or a write that failed
inline constexpr unsigned doubtful_dead_names_borne = 3;          // answers in a row: who may know more may be dead
inline constexpr duration dead_name_cleared_after = seconds(600); // of publishing without it: ten times reconcile_every

ring_key zone_key(std::string_view domain); // whose owner publishes, and keeps these names

class dead_names {
public:
  // What this node has to do about them.
  struct duty {
    bool keeps = false;     // it writes them: it owns the zone's key, and may publish
    bool published = false; // what stands in DNS is what was wanted, as far as it was looked at lately
  };
  // `store` is first asked for in observe(). `news`: the names have changed by an answer that came later.
  dead_names(std::function<dht::store_api&()> store, std::string domain, std::function<void()> news);
  ~dead_names();

  // On each view and every few seconds. A node that does not serve yet learns, and claims nothing from its own sight: its
  // clock may be wrong. `now` is monotonic; times of death are cluster time.
  void observe(const dht::view& v, duty d, mono_time now);

  // What the cluster keeps has been read, or nobody could tell for a while. Before that a zone would lack names.
  bool known() const { return known_; }
  const std::vector<std::string>& names() const { return names_; } // first labels, lower case, sorted: they lead to others
  // Their time is over: nothing is wanted under them, and what stands there has to be found and taken away.
  const std::vector<std::string>& over() const { return over_; }

private:
  void read(const dht::view& v, duty d, mono_time now);
  void take(const dht::fetch_result& r);
  void learn(const dht::view& v, unix_ms at);
  void let_go(duty d, unix_ms at, mono_time now);
  void write();
  void sort_out(unix_ms at);

  std::function<dht::store_api&()> store_;
  ring_key key_;
  std::function<void()> news_;
  std::map<std::string, unix_ms> died_;        // all that this node knows of
  std::map<std::string, std::string> stored_;  // name → value, as last read or written
  std::set<std::string> shown_dead_;           // by the last view
  std::map<std::string, mono_time> clearing_;  // their time is over: published without them since
  std::vector<std::string> names_, over_;
  std::optional<mono_time> read_at_;
  bool known_ = false, kept_ = false, reading_ = false, writing_ = false, again_ = false, inside_ = false;
  unsigned doubtful_ = 0; // answers in a row
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace skald::dnsupdate
