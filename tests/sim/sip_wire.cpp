#include "tests/sim/sip_wire.hpp"

#include "tests/sim/process.hpp"
#include "tests/sim/sip_machine.hpp"

#include <memory>

namespace skald::sim {
namespace {
constexpr std::size_t socket_datagrams_max = 500; // wait for a paused process
}

std::optional<machine_id> sip_wire::machine_at(const endpoint& e) const {
  for (machine_id m = 0; m < home_.size(); ++m)
    if (home_.at(m).spec.ip == e.ip) return m;
  return std::nullopt;
}

void sip_wire::travel(std::move_only_function<void(std::string)> arrive, std::string bytes) {
  ++datagrams_;
  if (random_.chance(quality_.loss)) return;
  const auto way = std::make_shared<std::move_only_function<void(std::string)>>(std::move(arrive));
  const int copies = random_.chance(quality_.duplication) ? 2 : 1;
  const auto span = static_cast<std::uint64_t>((quality_.delay_max - quality_.delay_min).count());
  for (int i = 0; i < copies; ++i)
    home_.time.after(quality_.delay_min + duration(random_.below(span + 1)), [this, way, bytes] {
      home_.time.mix(static_cast<std::uint64_t>(home_.time.now().time_since_epoch().count()));
      home_.time.mix(bytes);
      (*way)(bytes);
    });
}

void sip_wire::from_phone(const endpoint& phone, const endpoint& to, std::string bytes) {
  const auto m = machine_at(to);
  if (!m) return;
  travel([this, m = *m, phone, to](std::string text) { at_machine(m, phone, to, std::move(text)); }, std::move(bytes));
}

void sip_wire::at_machine(machine_id m, const endpoint& from, const endpoint& to, std::string bytes) {
  machine& there = home_.at(m);
  if (!there.running() || there.proc().sip() == nullptr) return; // who is not there says nothing that phones heed
  if (there.paused()) {
    auto& socket = sockets_[m];
    if (socket.size() < socket_datagrams_max) socket.push_back({from, to, std::move(bytes)});
    return;
  }
  there.proc().turn([&] { there.proc().sip()->on_datagram(from, to, std::move(bytes)); });
}

void sip_wire::woke(machine_id m) {
  for (auto& w : std::exchange(sockets_[m], {})) {
    machine& there = home_.at(m);
    if (there.running() && !there.paused()) there.proc().turn([&] { there.proc().sip()->on_datagram(w.from, w.to, std::move(w.bytes)); });
  }
}

void sip_wire::from_machine(machine_id m, const endpoint& from, const endpoint& to, std::string bytes) {
  if (!home_.at(m).running()) return;
  travel(
      [this, from, to](std::string text) {
        const auto at = phones_.find(to);
        if (at != phones_.end()) at->second(from, to, std::move(text));
      },
      std::move(bytes));
}

} // namespace skald::sim
