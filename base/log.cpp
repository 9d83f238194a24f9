#include "base/log.hpp"

#include <memory>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace skald::log {
namespace {

spdlog::level::level_enum to_spdlog(level l) {
  switch (l) {
  case level::debug: return spdlog::level::debug;
  case level::info: return spdlog::level::info;
  case level::warning: return spdlog::level::warn;
  case level::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

spdlog::logger& logger() {
  static const auto the_logger = [] {
    auto made = std::make_shared<spdlog::logger>("skald", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *the_logger;
}

} // namespace

bool enabled(level l) { return logger().should_log(to_spdlog(l)); }

void write(level l, std::string_view room, std::string_view text) {
  logger().log(to_spdlog(l), "{}: {}", fmt::string_view(room.data(), room.size()),
               fmt::string_view(text.data(), text.size()));
}

void set_level(level l) { logger().set_level(to_spdlog(l)); }

} // namespace skald::log
