#pragma once
// A frame of version 1 whose body `fill(pack::writer&)` writes in place.
#include "base/pack.hpp"
#include "dht/link/channel.hpp"

#include <utility>

namespace skald::dht {

template <class Fill>
frame make_frame(frame_type type, Fill&& fill) {
  frame f{type, 1, {}};
  pack::writer w(f.body);
  std::forward<Fill>(fill)(w);
  return f;
}

} // namespace skald::dht
