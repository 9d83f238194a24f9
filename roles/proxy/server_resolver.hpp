#pragma once
// Port: RFC 3263 for the proxy. The real one stands on sip/resolve, tests have a table.
#include "sip/flow.hpp"

#include <functional>
#include <string>
#include <vector>

namespace skald::roles {

class server_resolver {
public:
  virtual ~server_resolver() = default;
  // The targets for a SIP or SIPS URI, in the order to be tried; empty: there are none. On the worker's thread; `done`
  // may be called before it returns.
  virtual void resolve(std::string uri, std::move_only_function<void(std::vector<sip::target>)> done) = 0;
};

} // namespace skald::roles
