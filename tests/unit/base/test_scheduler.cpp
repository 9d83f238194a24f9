#include "base/scheduler.hpp"

#include <doctest/doctest.h>
#include <string>

using namespace skald;

TEST_CASE("scheduler: timers run by deadline, then in the order they were set") {
  scheduler s;
  std::string order;
  const mono_time t0{};
  s.at(t0 + seconds(2), [&] { order += 'c'; });
  s.at(t0 + seconds(1), [&] { order += 'a'; });
  s.at(t0 + seconds(1), [&] { order += 'b'; });
  CHECK(s.run_due(t0) == 0);
  CHECK(s.run_due(t0 + seconds(2)) == 3);
  CHECK(order == "abc");
}

TEST_CASE("scheduler: a cancelled timer does not run and does not hold the next deadline") {
  scheduler s;
  bool ran = false;
  const timer_id first = s.at(mono_time{} + seconds(1), [&] { ran = true; });
  s.at(mono_time{} + seconds(5), [] {});
  CHECK(s.cancel(first));
  CHECK_FALSE(s.cancel(first));
  CHECK(s.next_deadline() == mono_time{} + seconds(5));
  s.run_due(mono_time{} + seconds(4));
  CHECK_FALSE(ran);
}

TEST_CASE("scheduler: an action may set a timer that is due at once") {
  scheduler s;
  int ran = 0;
  s.at(mono_time{}, [&] { s.at(mono_time{}, [&] { ++ran; }); });
  CHECK(s.run_due(mono_time{}) == 2);
  CHECK(ran == 1);
}
