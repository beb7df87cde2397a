#include "wire/header_list.h"

namespace conclave::wire {

void HeaderList::add(BytesView name, BytesView value) {
  entries_.push_back({static_cast<std::uint32_t>(text_.size()),
                      static_cast<std::uint32_t>(name.size()),
                      static_cast<std::uint32_t>(value.size())});
  text_.append(name);
  text_.append(value);
}

void HeaderList::clear() {
  text_.clear();
  entries_.clear();
}

HeaderField HeaderList::operator[](std::size_t i) const {
  const Entry& entry = entries_[i];
  const BytesView text = BytesView(text_).substr(entry.begin);
  return {text.substr(0, entry.name_bytes), text.substr(entry.name_bytes, entry.value_bytes)};
}

std::optional<BytesView> HeaderList::find(BytesView name) const {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].name_bytes != name.size()) continue;
    const HeaderField field = (*this)[i];
    if (field.name == name) return field.value;
  }
  return std::nullopt;
}

}  // namespace conclave::wire
