// Hours of a lossy network in virtual time: not one member may be removed. Prints one line; the exit status says whether
// it held. The same arguments give the same run.
#include "tests/sim/swim_net.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

using namespace skald;

namespace {

struct arguments {
  int nodes = 100;
  double hours = 2, loss = 0.05;
  std::string profile = "lan";
  std::uint64_t seed = 1;
};

bool parse(int argc, char** argv, arguments& a) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--nodes") a.nodes = std::atoi(value.c_str());
    else if (key == "--hours") a.hours = std::atof(value.c_str());
    else if (key == "--loss") a.loss = std::atof(value.c_str());
    else if (key == "--profile") a.profile = value;
    else if (key == "--seed") a.seed = std::strtoull(value.c_str(), nullptr, 10);
    else return false;
  }
  return argc % 2 == 1 && a.nodes > 0 && a.nodes <= 1000 && a.hours > 0 && a.loss >= 0 && a.loss < 1 && (a.profile == "lan" || a.profile == "wan");
}

} // namespace

int main(int argc, char** argv) {
  arguments a;
  if (!parse(argc, argv, a)) {
    std::fprintf(stderr, "usage: swim_soak [--nodes N] [--hours H] [--loss 0.05] [--profile lan|wan] [--seed N]\n");
    return 2;
  }
  sim::swim_net net(a.profile == "lan" ? sim::lan(a.nodes, a.loss, a.seed) : sim::wan(a.nodes, a.loss, a.seed));
  const double node_seconds = a.hours * 3600 * a.nodes;
  net.run_for(duration(static_cast<std::int64_t>(a.hours * 3600e6)));
  std::printf("%s, %d nodes, %.3g h, loss %.3g, seed %llu: %zu removals, %.3g suspicions/h, %.1f pkt/s and %.2f kB/s per node\n", a.profile.c_str(),
              a.nodes, a.hours, a.loss, static_cast<unsigned long long>(a.seed), net.removals().size(),
              static_cast<double>(net.suspicions()) / a.hours / a.nodes, static_cast<double>(net.packets()) / node_seconds,
              static_cast<double>(net.bytes()) / node_seconds / 1000);
  return net.removals().empty() && net.self_removals() == 0 && net.all_full() ? 0 : 1;
}
