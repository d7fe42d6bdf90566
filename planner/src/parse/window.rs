//! Windows from the parser's tree into ours.

use sqlparser::ast::{
    self, NamedWindowDefinition, NamedWindowExpr, WindowFrameBound, WindowFrameUnits, WindowType,
};

use super::converter::{Converter, fold};
use crate::error::{SqlError, sqlstate};
use crate::statement::{Frame, FrameBound, FrameUnits, Window};

/// windowing_error.
const WINDOW_ERROR: &str = "42P20";

impl Converter<'_> {
    /// Converts OVER.
    pub(super) fn over(&self, over: WindowType) -> Result<Window, SqlError> {
        match over {
            WindowType::WindowSpec(spec) => self.window(spec),
            WindowType::NamedWindow(name) => Ok(self.window_name(&name)),
        }
    }

    /// Converts the clause WINDOW.
    pub(super) fn named_windows(
        &self,
        windows: Vec<NamedWindowDefinition>,
    ) -> Result<Vec<(String, Window)>, SqlError> {
        let convert = |NamedWindowDefinition(name, window)| {
            let window = match window {
                NamedWindowExpr::WindowSpec(spec) => self.window(spec)?,
                NamedWindowExpr::NamedWindow(other) => {
                    return Err(SqlError::new(
                        sqlstate::SYNTAX,
                        format!("syntax error at or near \"{}\"", fold(&other)),
                    ));
                }
            };
            Ok((fold(&name), window))
        };
        windows.into_iter().map(convert).collect()
    }

    fn window_name(&self, name: &ast::Ident) -> Window {
        Window {
            name: Some(self.idents_name(std::slice::from_ref(name))),
            is_name: true,
            partition_by: Vec::new(),
            order_by: Vec::new(),
            frame: None,
        }
    }

    fn window(&self, spec: ast::WindowSpec) -> Result<Window, SqlError> {
        let ast::WindowSpec { window_name, partition_by, order_by, window_frame } = spec;
        Ok(Window {
            name: window_name.map(|name| self.idents_name(&[name])),
            is_name: false,
            partition_by: partition_by.into_iter().map(|expr| self.expr(expr)).collect::<Result<_, _>>()?,
            order_by: order_by.into_iter().map(|item| self.order(item)).collect::<Result<_, _>>()?,
            frame: window_frame.map(|frame| self.frame(frame)).transpose()?,
        })
    }

    fn frame(&self, frame: ast::WindowFrame) -> Result<Frame, SqlError> {
        let ast::WindowFrame { units, start_bound, end_bound } = frame;
        let units = match units {
            WindowFrameUnits::Rows => FrameUnits::Rows,
            WindowFrameUnits::Range => FrameUnits::Range,
            WindowFrameUnits::Groups => FrameUnits::Groups,
        };
        let start = self.frame_bound(start_bound)?;
        let end = end_bound.map_or(Ok(FrameBound::CurrentRow), |bound| self.frame_bound(bound))?;
        let wrong = match (&start, &end) {
            (FrameBound::Following(None), _) => "frame start cannot be UNBOUNDED FOLLOWING",
            (_, FrameBound::Preceding(None)) => "frame end cannot be UNBOUNDED PRECEDING",
            (FrameBound::CurrentRow, FrameBound::Preceding(_)) => {
                "frame starting from current row cannot have preceding rows"
            }
            (FrameBound::Following(_), FrameBound::CurrentRow) => {
                "frame starting from following row cannot end with current row"
            }
            (FrameBound::Following(_), FrameBound::Preceding(_)) => {
                "frame starting from following row cannot have preceding rows"
            }
            _ => return Ok(Frame { units, start, end }),
        };
        Err(SqlError::new(WINDOW_ERROR, wrong))
    }

    fn frame_bound(&self, bound: WindowFrameBound) -> Result<FrameBound, SqlError> {
        let offset = |offset: Option<Box<ast::Expr>>| {
            offset.map(|offset| self.expr(*offset).map(Box::new)).transpose()
        };
        Ok(match bound {
            WindowFrameBound::CurrentRow => FrameBound::CurrentRow,
            WindowFrameBound::Preceding(bound) => FrameBound::Preceding(offset(bound)?),
            WindowFrameBound::Following(bound) => FrameBound::Following(offset(bound)?),
        })
    }
}
