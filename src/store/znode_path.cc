#include "store/znode_path.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace conclave::store {
namespace {

constexpr char kSeparator = '\0';

// The next character of UTF-8, taken off `text`; nullopt if there is none. Of what is no UTF-8, or
// outside of the first plane, Java makes characters that no path may have.
std::optional<std::uint32_t> take_character(BytesView& text) {
  const auto byte = [&text](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
  const std::uint8_t first = byte(0);
  const std::size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : 3;
  const bool is_start = first < 0x80 || (first >= 0xc2 && first < 0xf0);
  if (!is_start || text.size() < size) return std::nullopt;
  std::uint32_t character = size == 1 ? first : first & (size == 2 ? 0x1f : 0x0f);
  for (std::size_t at = 1; at < size; ++at) {
    if ((byte(at) & 0xc0) != 0x80) return std::nullopt;
    character = character << 6 | (byte(at) & 0x3f);
  }
  if (size == 3 && character < 0x800) return std::nullopt;
  text.remove_prefix(size);
  return character;
}

bool is_showable(std::uint32_t character) {
  if (character <= 0x1f) return false;
  if (character >= 0x7f && character <= 0x9f) return false;
  return character < 0xd800 || (character > 0xf8ff && character < 0xfff0);
}

bool has_allowed_characters(BytesView text) {
  while (!text.empty()) {
    if (text.front() > 0x1f && text.front() < 0x7f) {
      text.remove_prefix(1);
      continue;
    }
    const auto character = take_character(text);
    if (!character || !is_showable(*character)) return false;
  }
  return true;
}

}  // namespace

bool is_valid_path(BytesView path) {
  if (path.empty() || path.front() != '/') return false;
  if (path.size() == 1) return true;
  if (path.back() == '/' || !has_allowed_characters(path)) return false;
  for (BytesView rest = path; !rest.empty();) {
    rest.remove_prefix(1);
    const BytesView part = rest.substr(0, rest.find('/'));
    if (part.empty() || part == "." || part == "..") return false;
    rest.remove_prefix(part.size());
  }
  return true;
}

std::optional<SplitPath> split_path(BytesView path) {
  const std::size_t slash = path.rfind('/');
  if (slash == BytesView::npos) return std::nullopt;
  return SplitPath{slash == 0 ? kRootPath : path.substr(0, slash), path.substr(slash + 1)};
}

std::optional<Bytes> znode_key(BytesView path) {
  Bytes room(path.size() + 1, kSeparator);
  const auto key = znode_key(path, room);
  if (!key) return std::nullopt;
  room.resize(key->size());
  return room;
}

std::optional<BytesView> znode_key(BytesView path, std::span<char> room) {
  CHECK(room.size() > path.size());
  if (path.empty()) path = kRootPath;
  if (path.front() != '/' || path.find(kSeparator) != BytesView::npos) return std::nullopt;
  if (path == kRootPath) return BytesView(room.data(), path.copy(room.data(), path.size()));
  // One pass: no two slashes together, and where the last one is.
  std::size_t slash = 0;
  for (std::size_t next; (next = path.find('/', slash + 1)) != BytesView::npos; slash = next) {
    if (next == slash + 1) return std::nullopt;
  }
  if (slash + 1 == path.size()) return std::nullopt;
  // Of the parent's path, the root's slash stays.
  std::size_t size = path.copy(room.data(), std::max<std::size_t>(slash, 1));
  room[size++] = kSeparator;
  size += path.copy(room.data() + size, path.size(), slash + 1);
  return BytesView(room.data(), size);
}

Bytes znode_path(BytesView key) {
  const std::size_t end = key.find(kSeparator);
  if (end == BytesView::npos) return Bytes(key);
  Bytes path;
  path.reserve(key.size());
  if (const BytesView parent = key.substr(0, end); parent != kRootPath) path.append(parent);
  path.push_back('/');
  path.append(key.substr(end + 1));
  return path;
}

std::pair<Bytes, Bytes> children_keys(BytesView path) {
  const Bytes parent(path.empty() ? kRootPath : path);
  return {parent + kSeparator, parent + static_cast<char>(kSeparator + 1)};
}

std::pair<Bytes, Bytes> deeper_keys(BytesView path) {
  const bool is_root = path.empty() || path == kRootPath;
  const Bytes parent(is_root ? BytesView() : path);
  // Those whose parent begins with "<path>/"; of the root's, children have "/" and nothing more.
  return {is_root ? Bytes("/\1", 2) : parent + "/", parent + static_cast<char>('/' + 1)};
}

Bytes sequential_path(BytesView path, std::int32_t counter) {
  return fmt::format("{}{:010d}", path, counter);
}

}  // namespace conclave::store
