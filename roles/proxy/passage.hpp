#pragma once
// What an edge does to the responses that pass it: cleans those of UAs and foreign servers, learns flows from a
// REGISTER's 200 and dialogs from a 2xx, and writes the `dialogs` table (sip.md §3, §4, §9).
#include "roles/proxy/contexts.hpp"

namespace skald::roles {

struct worker;

class passage final : public passage_observer {
public:
  void serve(worker& w) { w_ = &w; } // before the first response

  void on_arrived(context& c, branch& b, sip::message& response, const sip::arrival& from) override;
  void on_passing(context& c, sip::message& response) override;

private:
  worker* w_ = nullptr;
};

// The pieces, for it alone.
void learn_flow(worker& w, context& c, const sip::message& response);
void note_dialog(worker& w, context& c, const sip::message& response);

} // namespace skald::roles
