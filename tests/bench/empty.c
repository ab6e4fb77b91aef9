/*
 * empty: a library of nothing to preload. What it costs to start with it is the loader's price.
 */
extern const char empty[];
const char empty[] = "";
