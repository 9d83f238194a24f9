#pragma once
// One line per event worth knowing; no secrets. Compose the text with fmt::format at the caller, or plain strings.
// Behind it stands spdlog; this header keeps it out of everybody's includes. Any thread.
#include <cstdint>
#include <string_view>

namespace skald::log {

enum class level : std::uint8_t { debug, info, warning, error };

bool enabled(level l);
void write(level l, std::string_view room, std::string_view text); // `room`: "mesh", "registrar", …

inline void debug(std::string_view room, std::string_view text) { if (enabled(level::debug)) write(level::debug, room, text); }
inline void info(std::string_view room, std::string_view text) { write(level::info, room, text); }
inline void warning(std::string_view room, std::string_view text) { write(level::warning, room, text); }
inline void error(std::string_view room, std::string_view text) { write(level::error, room, text); }

void set_level(level l);

} // namespace skald::log
