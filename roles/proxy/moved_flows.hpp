#pragma once
// A flow that changed (sip.md §6): the owner of a binding tells the edge whose flow it had, so that requests in dialogs
// which still carry that flow's token look for the newer one, and nobody keeps the old one alive. Said once, over a link;
// an edge that does not hear it sends to the flow that it knows. Of a binding that was removed there is no newer one: its
// old flow serves its dialogs as before.
#include "roles/proxy/routes.hpp"
#include "roles/proxy/worker.hpp"

namespace skald::roles {

// How long a former edge remembers it: as long as any dialog is kept that may carry the old token.
inline constexpr milliseconds moved_memory = dialog_life;

// At the owner, after the write was acknowledged.
void tell_former_edge(worker& w, const registrar_port::moved_binding& moved);
// At the former edge: the request on a link whose Route said so, that Route taken off. Answers it.
void take_moved(worker& w, const context_ptr& c, bool removed);

} // namespace skald::roles
