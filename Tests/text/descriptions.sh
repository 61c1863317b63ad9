# shellcheck shell=bash
# Sourced, not run: `needletail_descriptions` prints the path of a file with lines of real text.

# The package descriptions of the Debian archive in English and in every language into which many are translated. They
# are kept for a week, and fetched by apt into a folder of their own.
needletail_descriptions() {
  local folder="${XDG_CACHE_HOME:-$HOME/.cache}/needletail/text"
  local file="$folder/descriptions.txt" language
  mkdir -p "$folder"
  (
    exec 9>"$folder/lock"
    flock 9
    if [[ -n $(find "$file" -mtime -7 -size +10M 2>/dev/null) ]]; then exit 0; fi
    rm -rf "$folder/apt"
    mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
    {
      echo '#clear Acquire::Languages;'
      for language in en de fr es it pt_BR pl ru uk ja ko zh_CN zh_TW vi da fi sv cs hu tr el km ml sk eo; do
        echo "Acquire::Languages:: \"$language\";"
      done
      echo "Dir::State::lists \"$folder/apt/lists\";"
      echo "Dir::Cache \"$folder/apt/cache\";"
      echo '#clear APT::Update::Post-Invoke-Success;'
      echo '#clear APT::Update::Post-Invoke;'
    } >"$folder/apt.conf"
    if ! apt-get --config-file "$folder/apt.conf" update -qq >"$folder/apt.log" 2>&1; then
      cat "$folder/apt.log" >&2
      exit 1
    fi
    find "$folder/apt/lists" -name '*_Translation-*' -print0 | LC_ALL=C sort -z \
      | xargs -0 -n 1 /usr/lib/apt/apt-helper cat-file 2>/dev/null \
      | sed -n -E 's/^Description-[A-Za-z_]+: //p; s/^ ([^.].*)$/\1/p' | LC_ALL=C sort -u >"$file.new"
    mv "$file.new" "$file"
    rm -rf "$folder/apt"
  ) || return 1
  echo "$file"
}
