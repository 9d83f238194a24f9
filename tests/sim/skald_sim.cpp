// A whole cluster in one thread, from one seed, in virtual time (consistency.md §9). Exit 0: all invariants held; 1: one
// did not, and the seed, the invariant and the last events are printed; 2: usage.
#include "base/log.hpp"
#include "tests/sim/plants.hpp"
#include "tests/sim/run.hpp"

#include <charconv>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

namespace {

using namespace skald;
using namespace skald::sim;

constexpr const char* usage =
    "usage: skald-sim [--seed N | --seeds FROM..TO] [--nodes N] [--hours H] [--faults one|overlap|none] [--plant BUG] [--sip]\n"
    "                 [--trace | --deep] [--log] [--keep-going] [--verbose] [--want INVARIANT]\n"
    "  --sip: with phones that speak SIP, and a DNS server\n"
    "  --nodes: 1 to 1000. More than 32 begin as a cluster that was there for long, all active, settled and in one view; nodes\n"
    "    with the same members share one ring table; a cut takes about six nodes off the rest, and not all nodes go down at\n"
    "    once; one node in 64 tells the trace what it sees. Whoever is killed, cut off or new joins as in a small one.\n"
    "  --want: goes on to the first seed that breaks this invariant; what breaks another one is counted only\n";

struct arguments {
  options run;
  std::uint64_t from = 1, to = 1;
  bool verbose = false, keep_going = false, log = false;
  int want = 0; // an invariant; 0: any
};

template <class T>
bool number(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

bool seeds(std::string_view text, arguments& a) {
  const auto dots = text.find("..");
  if (dots == std::string_view::npos) return false;
  return number(text.substr(0, dots), a.from) && number(text.substr(dots + 2), a.to) && a.from <= a.to;
}

bool faults_from(std::string_view text, fault_mode& out) {
  if (text == "one") out = fault_mode::one;
  else if (text == "overlap") out = fault_mode::overlap;
  else if (text == "none") out = fault_mode::none;
  else return false;
  return true;
}

bool parse(int argc, char** argv, arguments& a) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--trace") a.run.trace = true;
    else if (flag == "--deep") a.run.trace = a.run.deep = true;
    else if (flag == "--log") a.log = true;
    else if (flag == "--sip") a.run.sip = true;
    else if (flag == "--verbose") a.verbose = true;
    else if (flag == "--keep-going") a.keep_going = true;
    else if (i + 1 == argc) return false;
    else {
      const std::string_view value = argv[++i];
      bool good = false;
      if (flag == "--seed") good = number(value, a.from), a.to = a.from;
      else if (flag == "--seeds") good = seeds(value, a);
      else if (flag == "--nodes") good = number(value, a.run.nodes) && a.run.nodes > 0 && a.run.nodes <= 1000;
      else if (flag == "--want") good = number(value, a.want) && a.want >= 1 && a.want <= 9;
      else if (flag == "--hours") good = number(value, a.run.hours) && a.run.hours > 0;
      else if (flag == "--faults") good = faults_from(value, a.run.faults);
      else if (flag == "--plant") {
        const auto p = plant_from(value);
        good = p.has_value();
        if (good) a.run.bug = *p;
      }
      if (!good) return false;
    }
  }
  return true;
}

std::string repeat_with(const arguments& a, std::uint64_t seed) {
  std::string out = fmt::format("skald-sim --seed {} --hours {}", seed, a.run.hours);
  if (a.run.sip) out += " --sip";
  if (a.run.nodes > 0) out += fmt::format(" --nodes {}", a.run.nodes);
  constexpr const char* modes[] = {"", " --faults one", " --faults overlap", " --faults none"};
  out += modes[static_cast<int>(a.run.faults)];
  if (a.run.bug != plant::none) out += fmt::format(" --plant {}", name(a.run.bug));
  return out + " --trace";
}

} // namespace

int main(int argc, char** argv) {
  arguments a;
  if (!parse(argc, argv, a)) {
    std::fputs(usage, stderr);
    return 2;
  }
  if (a.log) log::set_level(log::level::debug);
  else log::set_level(log::level::error);
  std::size_t failed = 0, wrong = 0, acknowledged = 0, faults = 0;
  std::map<std::string, std::size_t> kinds, happened;
  double seconds = 0;
  for (std::uint64_t seed = a.from; seed <= a.to; ++seed) {
    a.run.seed = seed;
    const outcome_of_run out = run(a.run);
    seconds += out.virtual_seconds;
    wrong += out.phones.wrong;
    acknowledged += out.phones.acknowledged;
    faults += out.faults;
    for (const auto& [what, n] : out.kinds) kinds[what] += n;
    for (const auto& [what, n] : out.happened) happened[what] += n;
    if (a.verbose || a.from == a.to) std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), out.summary().c_str());
    if (!out.failure) continue;
    ++failed;
    if (a.want != 0 && out.failure->invariant != a.want) continue;
    std::printf("seed %llu: invariant %d does not hold: %s\n", static_cast<unsigned long long>(seed), out.failure->invariant, out.failure->what.c_str());
    if (!a.keep_going && !a.run.trace)
      for (const auto& line : out.last_events) std::printf("  %s\n", line.c_str());
    std::printf("again with: %s\n", repeat_with(a, seed).c_str());
    if (!a.keep_going) break;
  }
  std::printf("%zu of %llu seeds failed; %.0f virtual seconds, %zu faults, %zu writes acknowledged, %zu firm answers wrong under overlapping faults or cuts\n",
              failed, static_cast<unsigned long long>(a.to - a.from + 1), seconds, faults, acknowledged, wrong);
  std::printf("faults: %s; nodes: %s\n", text_of(kinds).c_str(), text_of(happened).c_str());
  return failed == 0 ? 0 : 1;
}
