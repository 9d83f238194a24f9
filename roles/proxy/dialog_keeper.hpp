#pragma once
// The duties of a dialog's owner (sip.md §9), the node whose partition its record is in. It asks the edges of a dialog
// that nobody has spoken of for long whether they still have it: one that has counts as a report, both denying it removes
// the record. And a BYE that could not be delivered is delivered once its UA can be reached again (§6).
//
// When the owner dies, the next one finds the same records and goes on. Two that act at once do no harm: a second BYE of
// the same number finds no dialog, a second report says the same. One per node, on its first worker's thread.
#include "roles/core/dialog_record.hpp"
#include "roles/proxy/in_dialog.hpp"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace skald::roles {

inline constexpr seconds keeper_pass_every{5};                    // a look at all dialogs of this owner
inline constexpr std::size_t keeper_page_rows = 200;              // at once; the rest after keeper_page_pause
inline constexpr milliseconds keeper_page_pause{100};
inline constexpr milliseconds dialog_report_every{3600 * 1000};   // without a word its edges are asked
inline constexpr milliseconds bye_kept{3600 * 1000};              // an undelivered BYE is tried for so long
inline constexpr std::size_t byes_under_way_max = 1000;

class dialog_keeper {
public:
  explicit dialog_keeper(worker& w) : w_(w) {}
  ~dialog_keeper();
  void start(); // once; on the first worker only

  // From the transaction layer; false: not one of ours.
  bool on_response(sip::client_id id, const sip::message& response);
  bool on_failure(sip::client_id id);

private:
  struct question { // about one dialog
    dialog_record d;
    std::size_t open = 0; // edges that have not answered
    bool known = false, doubtful = false;
  };
  using question_ptr = std::shared_ptr<question>;
  using questions = std::vector<question_ptr>;
  struct errand { // a BYE
    dialog_record d;
    our_route to;
    bool found_again = false;
  };
  using errand_ptr = std::shared_ptr<errand>;

  void pass();
  void look_at(dialog_record d, std::map<std::uint64_t, questions>& by_edge);
  void ask(std::uint64_t edge, questions about);
  void answered(const questions& about, const sip::message* response);
  void conclude(const question& q);
  void deliver(dialog_record d);
  void go(const errand_ptr& e, std::expected<way, int> found);
  void send(const errand_ptr& e, const sip::flow& f, sip::message m);
  void over(const errand_ptr& e, bool delivered);
  void remove(const dialog_record& d);

  worker& w_;
  std::string cursor_;
  timer_id timer_ = timer_id::none;
  mono_time began_{};
  std::unordered_map<sip::client_id, questions> asked_;
  std::unordered_map<sip::client_id, errand_ptr> sent_;
  std::set<std::string> under_way_; // items whose BYE is
};

// At an edge: the request on a link that names dialogs in its body, one item a line. The 200 names those that still pass
// here.
void answer_for_dialogs(worker& w, const context_ptr& c);
// Whether this edge has that dialog, with a UA at its end.
bool still_passes(worker& w, std::string_view item);

// At the edge of who hung up: the other UA could not be reached. Its owner is asked to tell it later.
void keep_bye(worker& w, const context& c);

} // namespace skald::roles
