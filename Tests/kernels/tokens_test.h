/// Checks the steps of encoders. Returns how many checks failed.
#pragma once

int check_tokens(void);
