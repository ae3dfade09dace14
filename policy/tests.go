package policy

import "context"

func (src *source) test(ctx context.Context, p *problems) {}
